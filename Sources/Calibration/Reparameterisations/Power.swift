#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// x^y of the C library.
func power(_ x: Double, _ y: Double) -> Double { pow(x, y) }
