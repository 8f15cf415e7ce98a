"""Bugs that people really make when they write BERT and its backward: a file for each package of numbert."""

from mutants import bench, bert, cli, files, inference, inside, nn, pretrain, text, train

MUTANTS = [
    *nn.MUTANTS,
    *files.MUTANTS,
    *bert.MUTANTS,
    *text.MUTANTS,
    *train.MUTANTS,
    *inference.MUTANTS,
    *inside.MUTANTS,
    *pretrain.MUTANTS,
    *bench.MUTANTS,
    *cli.MUTANTS,
]
