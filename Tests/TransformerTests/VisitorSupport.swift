import Formats
import Kernels
import Quantization
import Tensors
import Transformer

/// What a pass told its visitor.
enum Visit: Equatable {
  case use(Int, PassDirection), complete(Int)
}

/// Writes down all calls; stops a pass where it is told to.
final class RecordingVisitor: UnitVisitor {
  struct Stop: Error, Equatable { let at: Int }
  typealias Failure = Stop

  private(set) var visits: [Visit] = []
  /// Polls since each visit, and before the first.
  private(set) var polls = [0]
  private(set) var calls = 0
  /// The call, polls included, that fails.
  let stop: Int

  init(stopAt stop: Int = .max) { self.stop = stop }

  private func count() throws(Stop) {
    calls += 1
    if calls - 1 == stop { throw Stop(at: stop) }
  }

  private func record(_ visit: Visit) throws(Stop) {
    try count()
    visits.append(visit)
    polls.append(0)
  }

  func willUse(unit: Int, _ direction: PassDirection) throws(Stop) { try record(.use(unit, direction)) }
  func didComplete(unit: Int) throws(Stop) { try record(.complete(unit)) }

  func poll() throws(Stop) {
    try count()
    polls[polls.count - 1] += 1
  }

  /// Polls from a visit to the next.
  func polls(after visit: Visit) -> Int { visits.firstIndex(of: visit).map { polls[$0 + 1] } ?? 0 }
}

/// Brings every unit of a model into memory that others use as well, from a full copy, and takes gradients out: what a run
/// that gathers layers does, without other ranks. NaN stands wherever a unit has no business any more.
final class SlotVisitor: UnitVisitor {
  typealias Failure = Never

  private let full: CodedModel
  private let slot: Parameters, gradients: Parameters
  private let linear: LinearOperators
  private let space: Workspace
  /// The gradient of every unit as it was handed over.
  private(set) var handedOver: [[Float]]

  init(_ full: CodedModel, slot: Parameters, gradients: Parameters, _ linear: LinearOperators, _ space: Workspace) {
    self.full = full
    self.slot = slot
    self.gradients = gradients
    self.linear = linear
    self.space = space
    handedOver = slot.units.map { _ in [] }
  }

  func willUse(unit: Int, _ direction: PassDirection) {
    let isTied = slot.configuration.tiedHead
    for (index, other) in slot.units.enumerated() where !(isTied && index == 0) { other.poison() }
    slot.units[unit].flat.copy(from: full.parameters.units[unit].flat)
    linear.prepare(unit: unit, of: slot, for: space.uses(of: unit, direction)) { full.codes(unit: unit, tensor: $0) }
  }

  func didComplete(unit: Int) {
    handedOver[unit] = gradients.units[unit].flat.floats()
    gradients.units[unit].poison()
  }
}

/// Random weights, those of the layers with codes in a format if one is asked for.
final class CodedModel {
  let parameters: Parameters
  let plan: QuantizationPlan
  let formats: [MXFormat]
  private var packed: [Box] = []
  /// By unit and tensor.
  private var places: [[Int: Int]]

  private final class Box {
    var tensor: PackedTensor
    init(_ tensor: consuming PackedTensor) { self.tensor = tensor }
  }

  init(_ c: ModelConfiguration, format: MXFormat?, activations: MXFormat? = nil, in arena: Arena) throws {
    parameters = Parameters(c, in: arena)
    fillRandomly(parameters, seed: 1)
    let layout = parameters.layout
    places = layout.units.map { _ in [:] }
    formats = format.map { [$0] } ?? []
    guard let format else {
      plan = .fullPrecision(layout.names)
      return
    }
    plan = try TensorSelection().resolve(layout.names, activations: activations)
    for product in ProductShape.all(c) where product.name != ParameterLayout.headName {
      // Neighbours that are one product: their codes lie together.
      let names = product.tensorNames(layout)
      let first = layout.all.first { $0.spec.name == names[0] }!
      var region = parameters.units[first.unit].flat.region(
        first.spec.offset, rows: product.outputs, columns: product.inputs)
      let box = Box(PackedTensor(format, rows: product.outputs, columns: product.inputs, in: arena))
      BlockCodec.quantize(&box.tensor, from: region)
      BlockCodec.dequantize(&region, from: box.tensor)
      for (index, spec) in layout.units[first.unit].parameters.enumerated() where names.contains(spec.name) {
        places[first.unit][index] = packed.count
      }
      packed.append(box)
    }
  }

  func codes(unit: Int, tensor: Int) -> WeightCodes? {
    guard let place = places[unit][tensor] else { return nil }
    let box = packed[place]
    return unsafe WeightCodes(
      format: box.tensor.format, codes: box.tensor.codes.unsafeAddress(), scales: box.tensor.scales.unsafeAddress())
  }
}
