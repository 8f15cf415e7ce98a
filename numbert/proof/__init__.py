"""Proofs that a backward is the derivative of its forward.

    from numbert.proof import gradcheck

    print(gradcheck(MyLayerNorm(6), np.random.default_rng(0).standard_normal((2, 5, 6))))

`gradcheck` proves one layer, numbert's or your own; `gradcheck_all` proves every layer of numbert. check.py holds
the proof from beginning to end; the other files are its tools.
"""

from numbert.proof.check import gradcheck
from numbert.proof.every_layer import gradcheck_all
from numbert.proof.report import GradcheckError, GradcheckReport

__all__ = ["GradcheckError", "GradcheckReport", "gradcheck", "gradcheck_all"]
