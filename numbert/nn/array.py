"""Array, the type of every array here, and the letters in which docstrings give shapes.

| letter | size | | letter | size |
|---|---|---|---|---|
| b | batch | | d | head size, e / h |
| l | query ("left") length | | f | intermediate (feed-forward) size |
| r | key ("right") length | | v | vocabulary |
| h | heads | | n | layers |
| e | hidden size | | t | token types |

So `attention_scores [b,h,l,r]` has a number for each sequence, head, query and key. In a function that works on
any number of rows, n is that number: `[n,e]`.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
