import Communication
import Formats
import Kernels
import Tensors
import Testing

/// Lossless differences of codes: what arrives, what is refused, how many bits they take.
@Suite struct CodeDeltaTests {
  private let arena = Arena("test")

  /// One way: a sender's message onto what a receiver holds.
  private final class Line {
    private let delta: CodeDelta
    private(set) var message: [UInt8] = []
    init(_ capacity: Int, in arena: Arena) { delta = CodeDelta(capacity: capacity, in: arena) }

    func send(_ codes: [UInt8], previous: [UInt8]?) {
      message = .init(repeating: 0xEE, count: CodeDelta.capacity(of: codes.count))
      let length = unsafe message.withUnsafeMutableBytes { bytes in
        unsafe codes.withUnsafeBufferPointer { codes in
          if let previous {
            return unsafe previous.withUnsafeBufferPointer { previous in
              unsafe delta.encode(
                codes.baseAddress!, previous: previous.baseAddress, count: codes.count, to: bytes.baseAddress!)
            }
          }
          return unsafe delta.encode(codes.baseAddress!, previous: nil, count: codes.count, to: bytes.baseAddress!)
        }
      }
      message.removeLast(message.count - length)
    }

    func change(_ byte: Int) { message[byte] ^= 1 }

    func receive(onto held: [UInt8], length: Int? = nil) throws -> [UInt8] {
      var codes = held
      unsafe try message.withUnsafeBytes { bytes in
        unsafe try codes.withUnsafeMutableBufferPointer { codes in
          unsafe try delta.decode(
            bytes.baseAddress!, length: length ?? bytes.count, onto: codes.baseAddress!, count: codes.count, from: 3)
        }
      }
      return codes
    }
  }

  private func noise(_ count: Int, stream: UInt64) -> [UInt8] {
    let random = CounterRandom(seed: 1, stream: stream)
    return (0..<count).map { UInt8(truncatingIfNeeded: random.word(UInt64($0))) }
  }

  /// `codes` with every `step`-th one moved by one.
  private func moved(_ codes: [UInt8], every step: Int) -> [UInt8] {
    codes.indices.map { $0 % step == 0 ? codes[$0] &+ ($0 % 2 == 0 ? 1 : 255) : codes[$0] }
  }

  @Test(arguments: [1, 2, 15, 100, 4097, 100_000]) func whatArrivesIsWhatWasSent(_ count: Int) throws {
    let line = Line(100_000, in: arena), old = noise(count, stream: 1)
    for new in [old, moved(old, every: 7), moved(old, every: 1), noise(count, stream: 2)] {
      line.send(new, previous: old)
      #expect(line.message.count <= CodeDelta.capacity(of: count))
      #expect(try line.receive(onto: old) == new)
      line.send(new, previous: nil)
      #expect(line.message.count == CodeDelta.headerCount + count)
      #expect(try line.receive(onto: .init(repeating: 9, count: count)) == new)  // whatever was held
    }
  }

  @Test func differencesThatDoNotShrinkGoAsCodes() throws {
    let line = Line(5000, in: arena), old = noise(5000, stream: 1), new = noise(5000, stream: 2)
    line.send(new, previous: old)
    #expect(line.message[0] == 0 && line.message.count == CodeDelta.headerCount + 5000)
    #expect(Array(line.message[CodeDelta.headerCount...]) == new)
    line.send(moved(old, every: 9), previous: old)
    #expect(line.message[0] == 1 && line.message.count < 2500)
    #expect(line.message[1..<8].allSatisfy { $0 == 0 })
  }

  @Test func otherPreviousCodesAreNoticed() {
    let line = Line(5000, in: arena), old = noise(5000, stream: 1)
    line.send(moved(old, every: 9), previous: old)
    var held = old
    held[1234] ^= 4
    let error = #expect(throws: CommunicationError.self) { try line.receive(onto: held) }
    #expect(error?.call == "code differences of rank 3")
    #expect(error?.found.contains("do not have the sender's hash") == true)
  }

  @Test func damagedMessagesAreRefused() throws {
    let line = Line(5000, in: arena), old = noise(5000, stream: 1), new = moved(old, every: 9)
    for previous in [old, nil] {
      line.send(new, previous: previous)
      let whole = line.message.count
      for length in [0, 1, 15, 16, 17, whole / 2, whole - 1] {
        #expect(throws: CommunicationError.self, "\(length) of \(whole) bytes") {
          try line.receive(onto: old, length: length)
        }
      }
      // Layout, hash, first and last byte; zstd ignores none of them, and the hash catches what it does not.
      for byte in [0, 8, 15, 16, whole - 1] {
        line.change(byte)
        #expect(throws: CommunicationError.self, "byte \(byte) of \(whole)") { try line.receive(onto: old) }
        line.change(byte)
      }
      #expect(try line.receive(onto: old) == new)
    }
  }

  /// Section 5.2's table: weights N(0, 0.02), MXINT8, zstd-3. The 1.7 bits at 1e-4 hold with the scales' differences.
  @Test(arguments: [(1e-3, 3.85), (3e-4, 2.24), (1e-4, 1.49), (3e-5, 0.69), (1e-5, 0.28)])
  func bitsOfAnUpdate(_ size: Float, _ table: Double) throws {
    let rows = 1024, columns = 1024, count = rows * columns
    let weights = Samples(stream: 1).normal(count), updates = Samples(stream: 2).normal(count)
    func encode(_ update: Float) -> Planes {
      var values = Tensor(rows: rows, columns: columns, in: arena)
      var span = values.mutableSpan
      for index in 0..<count { span[index] = 0.02 * weights[index] + update * updates[index] }
      let planes = Planes()
      planes.encode(values, .mxint8, in: arena)
      return planes
    }
    let old = encode(0), new = encode(size), line = Line(count, in: arena)
    var bytes = 0
    for (new, old) in [(new.codes, old.codes), (new.scales, old.scales)] {
      line.send(new, previous: old)
      #expect(try line.receive(onto: old) == new)
      bytes += line.message.count
    }
    let bits = 8 * Double(bytes) / Double(count)
    print("figure: MXINT8 code differences, update \(size): \(bits) bits, table \(table)")
    #expect(bits <= 1.14 * table, "\(bits) bits, expected about \(table)")
    if size == 1e-4 { #expect(bits <= 1.7) }
  }
}
