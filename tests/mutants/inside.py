"""Bugs planted in inside: the importance of heads, shapes."""

from mutants.machinery import Mutant

IMPORTANCE = "inside/test_importance.py"
HEADS = "bert/test_heads.py"

MUTANTS = [
    Mutant(
        "importance-signed",
        "inside/importance.py",
        "                total += np.abs(d_head_mask)\n",
        "                total += d_head_mask\n",
        "a head that helps one text and harms another seems to do nothing",
        tests=(IMPORTANCE,),
    ),
    Mutant(
        "importance-of-the-batch-mean",
        "inside/importance.py",
        "array[row : row + 1] if len(array) == b else array for",
        "array for",
        "the absolute value of the batch's gradient, in which examples cancel, and depends on how batches are cut",
        tests=(IMPORTANCE,),
    ),
    Mutant(
        "importance-divided-by-the-sum",
        "inside/importance.py",
        "    norms = np.sqrt((total**2).sum(axis=1, keepdims=True))  # [n,1]\n",
        "    norms = total.sum(axis=1, keepdims=True)  # [n,1]\n",
        "rows sum to 1 instead of having the norm 1",
        tests=(IMPORTANCE,),
    ),
    Mutant(
        "importance-normed-over-layers",
        "inside/importance.py",
        "    norms = np.sqrt((total**2).sum(axis=1, keepdims=True))  # [n,1]\n",
        "    norms = np.sqrt((total**2).sum(keepdims=True))\n",
        "a layer with large gradients outweighs all others",
        tests=(IMPORTANCE,),
    ),
    Mutant(
        "importance-with-dropout",
        "inside/importance.py",
        "        model.eval()\n",
        "",
        "another score each time, and the generator has moved",
        tests=(IMPORTANCE,),
    ),
    Mutant(
        "importance-leaves-gradients",
        "inside/importance.py",
        "            parameter.trainable = False\n",
        "            pass\n",
        "the next step of training takes the gradients of the scores with it",
        tests=(IMPORTANCE,),
    ),
    Mutant(
        "importance-uses-up-what-was-saved",
        "inside/importance.py",
        "            module.training, module.saved = training, saved\n",
        "            module.training = training\n",
        "a backward after it has no forward to undo",
        tests=(IMPORTANCE,),
    ),
    Mutant(
        "importance-of-nan-is-0",
        "inside/importance.py",
        "                if not np.isfinite(d_head_mask).all():\n",
        "                if False:\n",
        "NaN is not above 0, so every head of a broken model has the score 0",
        tests=(IMPORTANCE,),
    ),
    Mutant(
        "shapes-of-pruned-layers-in-letters-of-whole-ones",
        "inside/shapes.py",
        "        letter_of = of_pruned if gone else of_whole\n",
        "        letter_of = of_whole\n",
        "the heads that are left are shown as a number of the twin",
        tests=(HEADS,),
    ),
]
