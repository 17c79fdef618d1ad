import CBenchDNN
import CKernels
import Kernels
import Tensors

/// One shape's low-precision products, ours and oneDNN's, timed in turns.
struct ProductContest {
  let m: Int, n: Int, k: Int

  enum Kind: String, CaseIterable {
    /// Codes of both operands packed, multiplied, scaled.
    case int8
    /// As `int8`, with a scale for every 32 codes of both operands.
    case block
    /// Panels of bf16, multiplied: they are packed as fp32 is rounded to them.
    case bf16
    /// OpenBLAS.
    case fp32
    case dnnlInt8 = "dnnl s8s8s32"
    case dnnlBF16 = "dnnl bf16"
    case dnnlFP32 = "dnnl sgemm"
  }

  /// nil where oneDNN is not installed.
  static var libraryVersion: String? {
    guard let version = unsafe cbench_dnn_version() else { return nil }
    return unsafe String(cString: version)
  }

  /// Turns until `seconds` have passed, five at least; what does not run here is left out.
  func measure(seconds: Double) -> [Kind: Sample] {
    let memory = BenchMemory()
    let (m64, n64, k64) = (Int64(m), Int64(n), Int64(k))
    let matmul = unsafe KernelTable.current.raw.pointee.matmul.pointee
    let a = unsafe memory.noise(m * k), b = unsafe memory.noise(n * k)
    let c: UnsafeMutablePointer<Float> = unsafe memory.zeros(m * n)

    var left = unsafe panels(m, memory), right = unsafe panels(n, memory)
    var blockLeft = unsafe panels(m, memory, isBlock: true), blockRight = unsafe panels(n, memory, isBlock: true)
    func product(_ left: inout ck_panels, _ right: inout ck_panels) {
      unsafe matmul.pack_rows(CK_LEFT, m64, k64, a, k64, nil, &left)
      unsafe matmul.pack_rows(CK_RIGHT, n64, k64, b, k64, nil, &right)
      unsafe matmul.multiply(m64, n64, k64, &left, &right, c, n64, false)
    }
    let halfLeft = unsafe memory.halves((m + 15) / 16 * 16 * padded)
    let halfRight = unsafe memory.halves((n + 15) / 16 * 16 * padded)

    let arena = Arena("fp32")
    var y = Tensor(rows: m, columns: n, in: arena), x = Tensor(rows: m, columns: k, in: arena)
    var w = Tensor(rows: n, columns: k, in: arena)
    x.fillWithNoise(seed: 1)
    w.fillWithNoise(seed: 2)

    var times: [Kind: Sample] = [:]
    var turn = -1  // the first is not counted
    func time(_ kind: Kind, _ work: () -> Void) {
      if turn < 0 { return work() }
      times[kind, default: Sample()].measure(work)
    }
    let hasLibrary = Self.libraryVersion != nil
    let integers: UnsafeMutablePointer<Int32> = unsafe memory.zeros(hasLibrary ? m * n : 1)
    let halfA = unsafe memory.halves(m * k), halfB = unsafe memory.halves(n * k)
    let floatA = unsafe memory.floats(m * k), floatB = unsafe memory.floats(n * k)
    let primitive = unsafe hasLibrary ? cbench_dnn_bf16(m64, n64, k64, halfA, halfB, c) : nil
    defer { unsafe cbench_dnn_free(primitive) }

    let start = Instant.now.wall
    while turn < 5 || Instant.now.wall - start < seconds {
      time(.int8) { unsafe product(&left, &right) }
      if hasLibrary {
        time(.dnnlInt8) {
          _ = unsafe cbench_dnn_s8s8s32(
            m64, n64, k64, UnsafeRawPointer(a).assumingMemoryBound(to: Int8.self),
            UnsafeRawPointer(b).assumingMemoryBound(to: Int8.self), integers)
        }
      }
      time(.block) { unsafe product(&blockLeft, &blockRight) }
      time(.bf16) {
        unsafe halfLeft.withMemoryRebound(to: UInt8.self, capacity: 1) { l in
          unsafe halfRight.withMemoryRebound(to: UInt8.self, capacity: 1) { r in
            unsafe matmul.multiply_bf16(m64, n64, k64, l, r, c, n64, false)
          }
        }
      }
      if let primitive = unsafe primitive { time(.dnnlBF16) { _ = unsafe cbench_dnn_run(primitive) } }
      time(.fp32) { Linear.forward(&y, of: x, weight: w) }
      if hasLibrary { time(.dnnlFP32) { _ = unsafe cbench_dnn_sgemm(m64, n64, k64, floatA, floatB, c) } }
      turn += 1
    }
    return times
  }

  /// k rounded up to whole blocks.
  private var padded: Int { (k + 31) / 32 * 32 }

  private func panels(_ vectors: Int, _ memory: BenchMemory, isBlock: Bool = false) -> ck_panels {
    let count = (vectors + 15) / 16 * 16
    let scales = unsafe memory.floats(isBlock ? count * padded / 32 : count)
    for i in 0..<(isBlock ? count * padded / 32 : count) { unsafe scales[i] = isBlock ? (i % 3 == 0 ? 0.5 : 2) : 1.01 }
    return unsafe ck_panels(
      codes: memory.zeros(count * padded), sums: memory.zeros(count * padded / 32), scales: scales,
      scaling: Int32((isBlock ? CK_SCALE_BLOCK : CK_SCALE_VECTOR).rawValue))
  }
}

/// Page-aligned memory that lives as long as this.
@safe private final class BenchMemory {
  private var taken: [UnsafeMutableRawPointer] = unsafe []

  deinit { for unsafe pointer in unsafe taken { unsafe pointer.deallocate() } }

  func zeros<T: BitwiseCopyable>(_ count: Int) -> UnsafeMutablePointer<T> {
    let bytes = max(count * MemoryLayout<T>.stride, 1)
    let pointer = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 4096)
    unsafe pointer.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
    unsafe taken.append(pointer)
    return unsafe pointer.assumingMemoryBound(to: T.self)
  }

  /// Codes in -127 ... 127.
  func noise(_ count: Int) -> UnsafeMutablePointer<UInt8> {
    let codes: UnsafeMutablePointer<UInt8> = unsafe zeros(count)
    let random = CounterRandom(seed: 4, stream: "codes")
    for i in 0..<count {
      let byte = Int(random.word(UInt64(i / 8)) >> (8 * (i % 8)) & 0xFF)
      unsafe codes[i] = UInt8(bitPattern: Int8(byte % 255 - 127))
    }
    return unsafe codes
  }

  /// bf16 between 1 and 2.
  func halves(_ count: Int) -> UnsafeMutablePointer<UInt16> {
    let values: UnsafeMutablePointer<UInt16> = unsafe zeros(count)
    for i in 0..<count { unsafe values[i] = 0x3F80 + UInt16(i * 37 % 127) }
    return unsafe values
  }

  func floats(_ count: Int) -> UnsafeMutablePointer<Float> {
    let values: UnsafeMutablePointer<Float> = unsafe zeros(count)
    for i in 0..<count { unsafe values[i] = 1 + Float(i * 37 % 127) / 128 }
    return unsafe values
  }
}
