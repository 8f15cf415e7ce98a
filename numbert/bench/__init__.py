"""`numbert bench`: times numbert beside torch, onnxruntime and openvino, whose answers it has compared."""

from numbert.bench.bench import PARTS, BenchResult, bench, format_result

__all__ = ["PARTS", "BenchResult", "bench", "format_result"]
