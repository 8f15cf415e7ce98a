"""Which warnings of floating-point arithmetic are no errors."""

from __future__ import annotations

import numpy as np

# A decorator: a number too small to be held is 0 (the exp of a masked score, the tail of gelu), and no error, also
# where the caller's program has set `np.seterr(all="raise")`. Overflow and NaN are reported as the caller set it.
underflow_is_zero = np.errstate(under="ignore")
