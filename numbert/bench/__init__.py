"""`numbert bench`: times numbert beside torch and onnxruntime, after their answers have been compared."""

from numbert.bench.bench import PARTS, BenchResult, bench, format_result

__all__ = ["PARTS", "BenchResult", "bench", "format_result"]
