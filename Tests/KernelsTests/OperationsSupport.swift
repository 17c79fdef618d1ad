import CKernels
import Kernels
import Tensors
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// Keeps the operands of one test alive until it ends, so that a test may write `F32(values).pointer` into a call.
final class OperandKeeper: @unchecked Sendable {  // used by its test's own task only
  @TaskLocal static var current: OperandKeeper?
  fileprivate var operands: [AnyObject] = []
}

struct KeepsOperands: SuiteTrait, TestTrait, TestScoping {
  var isRecursive: Bool { true }
  func provideScope(
    for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
  ) async throws {
    try await OperandKeeper.$current.withValue(OperandKeeper()) { try await function() }
  }
}

extension Trait where Self == KeepsOperands {
  static var keepsOperands: Self { KeepsOperands() }
}

/// Memory for one operand that ends `misalignment` elements before a page that cannot be touched: a read or a write past
/// it faults, and one just around it is found by every look at `values`.
@safe final class Operand<Element: Numeric & BitwiseCopyable & Sendable> {
  let count: Int
  private let base: UnsafeMutableRawPointer
  private let pages: Int
  private let start: Int
  private static var page: Int { 4096 }
  private static var guardByte: UInt8 { 0xA5 }

  init(_ values: [Element], misalignment: Int = 0) {
    let stride = MemoryLayout<Element>.stride, size = (values.count + misalignment) * stride
    count = values.count
    pages = (size + 64 + Self.page - 1) / Self.page * Self.page
    start = pages - size
    unsafe base = mmap(nil, pages + Self.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    let forbidden = unsafe mprotect(base + pages, Self.page, PROT_NONE)
    precondition(forbidden == 0, "mprotect failed")
    unsafe base.initializeMemory(as: UInt8.self, repeating: Self.guardByte, count: pages)
    for (i, value) in values.enumerated() { unsafe pointer[i] = value }
    guard let keeper = OperandKeeper.current else { preconditionFailure("the suite lacks .keepsOperands") }
    keeper.operands.append(self)
  }

  convenience init(zeros count: Int, misalignment: Int = 0) {
    self.init([Element](repeating: 0, count: count), misalignment: misalignment)
  }

  deinit { unsafe munmap(base, pages + Self.page) }

  var pointer: UnsafeMutablePointer<Element> {
    unsafe (base + start).assumingMemoryBound(to: Element.self)
  }

  /// The values, after checking that nothing was written around them.
  var values: [Element] {
    let end = start + count * MemoryLayout<Element>.stride
    for i in Array(max(0, start - 256)..<start) + Array(end..<pages) {
      let byte = unsafe base.load(fromByteOffset: i, as: UInt8.self)
      if byte != Self.guardByte { Issue.record("wrote outside of the operand, at byte \(i - start) of \(end - start)") }
    }
    return (0..<count).map { unsafe pointer[$0] }
  }
}

typealias F32 = Operand<Float>
typealias F64 = Operand<Double>
typealias Bytes = Operand<UInt8>

/// What the reference over double gives, and how far a float table may be from it, element by element.
struct Expected {
  let name: String
  let values: [Double]
  let tolerances: [Double]

  init(_ name: String, _ values: [Double], within tolerance: (Int) -> Double) {
    self.name = name
    self.values = values
    tolerances = values.indices.map(tolerance)
  }
}

/// The contracts of ck_operations.h.
enum Contract {
  /// Bit-equal in every table.
  case exact
  /// AVX2 and AVX-512 bit-equal; every table within the stated tolerance.
  case sum
  /// As `sum`, and within n ulps of the scalar table wherever that is a normal number.
  case ulps(Int)
}

let reference = ck_reference_f64

/// Half an ulp of 1 in float: the largest relative error of one rounding.
let roundoff = 0x1p-24
/// Slack where results are subnormal: roundings there are absolute.
let leastFloat = 0x1p-148

/// Runs an operation on every table and holds its outputs to their contract and to the double reference.
func checkTables(
  _ contract: Contract, _ expected: [Expected], _ context: @autoclosure () -> String,
  sourceLocation: SourceLocation = #_sourceLocation, run: (ck_operation_table) -> [[Float]]
) {
  let outputs = KernelTable.available.map { (name: $0.name, values: run($0.operations)) }
  let scalar = outputs.last!.values
  for (name, values) in outputs {
    for (got, want) in zip(values, expected) {
      let wrong = got.indices.first { !agrees(Double(got[$0]), want.values[$0], within: want.tolerances[$0]) }
      if let i = wrong {
        Issue.record(
          "\(name) \(want.name)[\(i)] = \(got[i]), reference \(want.values[i]) ± \(want.tolerances[i]); \(context())",
          sourceLocation: sourceLocation)
      }
      #expect(got.count == want.values.count, sourceLocation: sourceLocation)
    }
    switch contract {
    case .exact:
      expectSameBits(values, scalar, "\(name) against scalar; \(context())", sourceLocation)
    case .sum, .ulps:
      if name != "scalar" {
        expectSameBits(values, outputs[0].values, "\(name) against \(outputs[0].name); \(context())", sourceLocation)
      }
    }
  }
  if case .ulps(let limit) = contract {
    for (got, want) in zip(outputs[0].values.joined(), scalar.joined()) where want.isNormal {
      let distance = abs(got - want) / want.ulp
      if distance > Float(limit) {
        Issue.record("\(got) is \(distance) ulps from scalar \(want); \(context())", sourceLocation: sourceLocation)
        return
      }
    }
  }
}

private func agrees(_ got: Double, _ want: Double, within tolerance: Double) -> Bool {
  if want.isNaN { return got.isNaN }
  if want.isInfinite { return got == want }
  return abs(got - want) <= tolerance
}

/// Equal bits; any NaN equals any other.
func expectSameBits(_ a: [[Float]], _ b: [[Float]], _ context: @autoclosure () -> String, _ location: SourceLocation) {
  for (output, (x, y)) in zip(a, b).enumerated() {
    #expect(x.count == y.count, sourceLocation: location)
    let different = x.indices.first { x[$0].bitPattern != y[$0].bitPattern && !(x[$0].isNaN && y[$0].isNaN) }
    if let i = different {
      Issue.record("output \(output)[\(i)]: \(x[i]) and \(y[i]), \(context())", sourceLocation: location)
    }
  }
}

/// Numbers for tests, a function of (stream, index).
struct Numbers {
  private let random: CounterRandom
  init(_ stream: String) { random = CounterRandom(seed: 2024, stream: stream) }

  /// Uniform in -range ... range, rounded to float.
  func floats(_ count: Int, _ range: Double = 1) -> [Float] {
    (0..<count).map { Float((random.uniform(UInt64($0)) * 2 - 1) * range) }
  }
  func doubles(_ count: Int, _ range: Double = 1) -> [Double] { floats(count, range).map(Double.init) }
}

func wide(_ x: [Float]) -> [Double] { x.map(Double.init) }

func row<T>(_ matrix: [T], _ r: Int, _ columns: Int) -> ArraySlice<T> { matrix[r * columns..<(r + 1) * columns] }

/// Sizes around both vector widths, each with a misalignment of its own, and a few long ones.
let sizes = Array(0...33) + [63, 64, 65, 127, 511, 512, 513, 1000, 2049]
