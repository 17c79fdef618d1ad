import Communication
import Tensors
import Testing

/// One thing that must hold on every rank of any communicator: run solo, over MPI processes and over threads.
struct Check: Sendable, CustomTestStringConvertible {
  let name: String
  let body: @Sendable (Communicator) throws -> Void

  var testDescription: String { name }

  init(_ name: String, _ body: @escaping @Sendable (Communicator) throws -> Void) {
    self.name = name
    self.body = body
  }

  /// Ranks first agree on what they are about to do, so that a runner that orders tests differently on different ranks
  /// is an error and not a deadlock.
  func run(on communicator: Communicator) throws {
    try communicator.requireEqual(Array(name.utf8), what: "name of the check")
    try body(communicator)
  }
}

struct CheckFailure: Error, CustomStringConvertible {
  let description: String
}

/// `#expect` for code that runs outside a test's task: throws what was found.
func require(_ condition: Bool, _ message: @autoclosure () -> String, line: Int = #line) throws {
  if !condition { throw CheckFailure(description: "line \(line): \(message())") }
}

func requireEqual<Value: Equatable>(_ found: Value, _ expected: Value, line: Int = #line) throws {
  try require(found == expected, "found \(found), expected \(expected)", line: line)
}

/// Floats whose sum depends on the order of addition: either sign, exponents -12...12.
func roughFloats(_ count: Int, stream: UInt64) -> [Float] {
  let random = CounterRandom(seed: 17, stream: stream)
  return (0..<count).map { index in
    let word = random.word(UInt64(index))
    let mantissa = Float(Double(word >> 11) * 0x1p-53) + 0.5
    let exponent = Int(word & 31) - 16
    let value = Float(sign: word & 32 == 0 ? .plus : .minus, exponent: max(-12, min(12, exponent)), significand: mantissa)
    return word & 0x7C0 == 0 ? -0.0 : value
  }
}

func tensor(_ values: [Float], in arena: Arena) -> Tensor {
  var tensor = Tensor(rows: 1, columns: values.count, in: arena)
  var span = tensor.mutableSpan
  for index in values.indices { span[index] = values[index] }
  return tensor
}

func buffer<Element: BitwiseCopyable>(_ values: [Element], in arena: Arena) -> HostBuffer<Element> {
  var buffer = HostBuffer<Element>(count: values.count, in: arena)
  for index in values.indices { buffer[index] = values[index] }
  return buffer
}

func bits(_ tensor: borrowing Tensor) -> [UInt32] {
  let span = tensor.span
  return (0..<span.count).map { span[$0].bitPattern }
}

func array<Element: BitwiseCopyable>(_ buffer: borrowing HostBuffer<Element>) -> [Element] {
  let span = buffer.span
  return (0..<span.count).map { span[$0] }
}

/// A unit as awkward as units get: fewer rows than ranks, one column, partial blocks, an empty matrix, whole vectors.
let awkwardUnit: [RowShards.Matrix] = [
  .init(rows: 7, columns: 33), .init(rows: 1, columns: 5), .init(rows: 3, columns: 1), .init(rows: 0, columns: 9),
  .init(rows: 21, columns: 64), .init(rows: 2, columns: 31),
]
