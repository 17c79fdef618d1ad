#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension EvaluationRecord.Result {
  static func exponential(_ value: Double) -> Double { exp(value) }
}
