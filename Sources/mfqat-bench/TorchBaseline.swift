import ArgumentParser

/// What PyTorch runs beside us, by the options of `torch_baseline.py`.
enum TorchBaseline: String, CaseIterable, ExpressibleByArgument {
  case fp32
  case fp32Compile = "fp32-compile"
  case bf16Compile = "bf16-compile"
  /// torchao's MX quantization-aware training at its fastest: weights and optimizer in bf16.
  case quantized = "ao-mxfp4"
  case int8 = "ao-int8mp"

  var title: String {
    switch self {
    case .fp32: "fp32 eager as installed"
    case .fp32Compile: "fp32 + compile, tuned, MKL unlocked"
    case .bf16Compile: "bf16 + compile, tuned, MKL unlocked, no quantization"
    case .quantized: "torchao MXFP4 QAT, bf16 weights + compile, tuned, MKL unlocked"
    case .int8: "torchao int8 mixed precision, bf16 weights + compile, tuned, MKL unlocked"
    }
  }

  var options: [String] {
    let best = ["--compile", "--tuned", "--mkl-unlock"]
    return switch self {
    case .fp32: ["--mode", "fp32"]
    case .fp32Compile: ["--mode", "fp32"] + best
    case .bf16Compile: ["--mode", "bf16"] + best
    case .quantized: ["--mode", "bf16w", "--quant", "ao-mxfp4"] + best
    case .int8: ["--mode", "bf16w", "--quant", "ao-int8mp"] + best
    }
  }
}
