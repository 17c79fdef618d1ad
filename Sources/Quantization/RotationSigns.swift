public import Tensors

/// The signs of one rotation: a function of the seed, the layer, the axis and, where they are redrawn, the step.
public struct RotationSigns: Sendable {
  public enum Axis: UInt64, Sendable { case input = 1, output, tokens }

  private let random: CounterRandom

  public init(seed: UInt64, name: String, axis: Axis, step: Int = 0) {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    random = CounterRandom(seed: seed, stream: (hash ^ axis.rawValue) &+ UInt64(step) &* 0x9E37_79B9_7F4A_7C15)
  }

  /// 0, or the sign bit of a float, for every position.
  public func fill(_ signs: inout HostBuffer<UInt32>) {
    for i in 0..<signs.count {
      let word = random.word(UInt64(i / 64))
      signs[i] = UInt32(truncatingIfNeeded: word >> UInt64(i % 64)) << 31
    }
  }
}
