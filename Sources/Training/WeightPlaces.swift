import Communication
import Formats
import Tensors
import Transformer

/// The memory of published weights: a place for every unit, or one for units that take turns, and what each holds now.
final class WeightPlaces {
  /// What a place holds.
  struct Content {
    /// -1: nothing.
    var unit = -1
    /// The tensors that stay in fp32 are there.
    var isDense = false
    /// Formats of the codes in the slots.
    fileprivate(set) var formats: [MXFormat?]
    /// The format of the values of the quantized tensors.
    var values: MXFormat?
    /// What is packed of these values.
    var packed: WeightUses = []
  }

  private let places: [Int]
  private let isShared: [Bool]
  private var contents: [Content]
  private let slots: [[CodeSlot]]

  /// - Parameter slots: formats whose codes must be there together.
  init(_ units: [UnitTensors], _ sharing: UnitSharing, isTied: Bool, slots slotCount: Int, in arena: Arena) {
    let places = Self.places(units.count, sharing, isTied: isTied)
    self.places = places
    isShared = places.map { place in places.count { $0 == place } > 1 }
    slots = (0...(places.max() ?? 0)).map { place in
      let sharers = units.indices.filter { places[$0] == place }.map { units[$0].packedShards }
      let codes = sharers.map(\.elementCount).max() ?? 0, scales = sharers.map(\.scaleCount).max() ?? 0
      return (0..<(codes == 0 ? 0 : slotCount)).map { _ in
        (HostBufferBox(codes, in: arena), HostBufferBox(scales, in: arena))
      }
    }
    contents = slots.map { Content(formats: Array(repeating: nil, count: $0.count)) }
  }

  /// One place a unit, or the places of ``UnitSharing/layers``.
  private static func places(_ count: Int, _ sharing: UnitSharing, isTied: Bool) -> [Int] {
    switch sharing {
    case .everyUnit: Array(0..<count)
    case .layers: (0..<count).map { $0 == 0 ? 0 : $0 < count - 1 ? 1 : isTied ? 2 : 0 }
    }
  }

  var count: Int { contents.count }
  func place(of unit: Int) -> Int { places[unit] }
  /// Whether another unit will be in the same place.
  func isShared(_ unit: Int) -> Bool { isShared[unit] }

  /// What the place of a unit holds.
  subscript(unit: Int) -> Content {
    _read { yield contents[places[unit]] }
    _modify { yield &contents[places[unit]] }
  }

  func holder(ofPlace place: Int) -> Int { contents[place].unit }

  /// Makes the place of a unit its own; what another left there is gone.
  func take(_ unit: Int) {
    if self[unit].unit != unit { clear(unit) }
    self[unit].unit = unit
  }

  func clear(_ unit: Int) {
    let place = places[unit]
    contents[place].unit = -1
    contents[place].isDense = false
    contents[place].values = nil
    contents[place].packed = []
    for index in contents[place].formats.indices { contents[place].formats[index] = nil }
  }

  func clearAll() { for unit in places.indices { clear(unit) } }

  // MARK: Slots

  /// Gives the codes of a format the first slot that is free, or holds what is not wanted.
  func reserveSlot(for format: MXFormat, ofUnit unit: Int, wanted: [MXFormat]) {
    if self[unit].formats.contains(format) { return }
    let free = self[unit].formats.firstIndex { $0.map { !wanted.contains($0) } ?? true }
    guard let free else { preconditionFailure("no room for the codes of \(format.name)") }
    self[unit].formats[free] = format
  }

  func slot(of format: MXFormat, ofUnit unit: Int) -> CodeSlot {
    guard let index = self[unit].formats.firstIndex(of: format) else {
      preconditionFailure("\(format.name) was not published")
    }
    return slots[places[unit]][index]
  }

  /// A slot of a unit's place by its number.
  func slot(_ number: Int, ofUnit unit: Int) -> CodeSlot { slots[places[unit]][number] }
}
