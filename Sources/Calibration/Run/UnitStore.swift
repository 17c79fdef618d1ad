import Checkpoints
import Formats
import Kernels
import Quantization
import Tensors
import Transformer

/// Finished units of a calibration on disk, `OUT.calibration/unit-003`, each a container that verifies itself: what an
/// interrupted calibration goes on from, and what the anchor is put together from.
///
/// `calibration.json` beside them states what they were made from; another model, text or method is refused.
final class UnitStore {
  let directory: String
  private let layout: ParameterLayout

  init(beside out: String, _ layout: ParameterLayout) {
    var path = out
    while path.count > 1 && path.hasSuffix("/") { path.removeLast() }
    directory = path + ".calibration"
    self.layout = layout
  }

  /// One finished unit.
  struct Unit {
    /// Codes of products, by the name of their first tensor.
    var rounded: [String: SharedRounding.Rounded] = [:]
    var figures: [ProductFigures] = []
    /// Sites whose rotation this layer does without.
    var droppedSites: [String] = []
    /// Of SLaNC: n of the norm inside the layer, and of the norm behind it.
    var normScales: [Double] = []
    /// Of a layer's scaled weights (``CoordinateFingerprint``).
    var coordinates: String?
  }

  // MARK: Beginning

  private static let identityFile = "calibration.json"
  private func path(_ unit: Int) -> String {
    let digits = String(unit)
    return directory + "/unit-" + String(repeating: "0", count: max(0, 3 - digits.count)) + digits
  }

  /// Finds out how many units are done, or begins.
  ///
  /// - Parameter identity: by aspect, everything that the units depend on.
  /// - Throws: where a calibration lies there that was made from something else.
  func begin(_ identity: JSONObject) throws -> Int {
    let file = directory + "/" + Self.identityFile
    guard FileBytes.exists(file) else {
      try Directories.createWithParents(directory)
      try AtomicFile.write(JSONValue.object(identity).serialized(order: .given, indent: 2) + [0x0A], to: file)
      return 0
    }
    guard let found = try JSONScanner.parse(FileBytes.read(file), path: file).object else {
      throw CalibrationError(file, "is no description of a calibration", hint: "Remove \(directory) to begin anew.")
    }
    let done = (0..<layout.units.count).first { !FileBytes.exists(path($0)) } ?? layout.units.count
    if let difference = CalibrationDifference.first(found, identity) {
      // Where nothing is done nothing can be mixed up: a calibration that was refused at once leaves no trace.
      guard done == 0 else {
        throw CalibrationError(
          directory, "holds an unfinished calibration with another \(difference)",
          hint: "Calibrate as before to go on with it, or remove it to begin anew.")
      }
      try AtomicFile.write(
        JSONValue.object(identity).serialized(order: .given, indent: 2) + [0x0A], to: file, replacing: true)
    }
    // What was made behind a unit that has been removed since, and what was being written when the power went.
    for unit in done..<layout.units.count where FileBytes.exists(path(unit)) {
      try CommittedDirectories.remove(path(unit))
    }
    try CommittedDirectories.removeLeftovers(in: directory, prefix: "unit-")
    return done
  }

  // MARK: Units

  /// Keeps a unit; `w` holds what is not rounded.
  func save(_ unit: Int, _ w: UnitParameters, _ result: Unit, format: MXFormat, scales: StoredScales) throws {
    var metadata = JSONObject()
    metadata["figures"] = .array(result.figures.map(\.json))
    metadata["dropped_sites"] = .array(result.droppedSites.map { .string($0) })
    metadata["norm_scales"] = .array(result.normScales.map { .number($0) })
    metadata["coordinates"] = result.coordinates.map { .string($0) }
    let writer = try ContainerWriter(
      directory: path(unit), format: format.name, scaleRule: scales.name, metadata: metadata)
    let places = ProductPlaces(layout.units[unit])
    for spec in w.layout.parameters {
      if let place = places[spec.name], let rounded = result.rounded[place.product] {
        let blocks = PackedTensor.blockCount(spec.columns), first = place.firstRow
        let codes = rounded.packed.codes.region(first * spec.columns..<(first + spec.rows) * spec.columns)
        let scales = rounded.packed.scales.region(first * blocks..<(first + spec.rows) * blocks)
        try writer.addPacked(
          name: spec.name, shape: spec.shape, format: rounded.packed.format.name, rows: 0..<spec.rows,
          codes: codes.span, scales: scales.span)
      } else {
        let values = w.flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
        if spec.shape.count == 2 {
          try writer.addDense(name: spec.name, shape: spec.shape, rows: 0..<spec.rows, values: values.span)
        } else {
          try writer.addDense(name: spec.name, shape: spec.shape, values: values.span)
        }
      }
    }
    try writer.commit()
  }

  /// Brings the values of a finished unit into `w`.
  func load(_ unit: Int, into w: UnitParameters) throws -> Unit {
    let container = try TensorContainer(path(unit))
    for spec in w.layout.parameters {
      var values = w.flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
      try read(spec, from: container) { codes in
        BlockCodec.dequantize(&values, from: codes.packed)
      } dense: { () throws in
        var span = values.mutableSpan
        try Self.readDense(spec, from: container, into: &span)
      }
    }
    return try figures(of: container)
  }

  /// Adds the tensors of a finished unit to the anchor, codes as they are.
  func export(_ unit: Int, to anchor: AnchorExport) throws {
    let container = try TensorContainer(path(unit))
    for spec in layout.units[unit].parameters {
      try read(spec, from: container) { rounded in
        let codes = rounded.packed.codes.region(0..<rounded.packed.codes.count)
        let scales = rounded.packed.scales.region(0..<rounded.packed.scales.count)
        try anchor.addPacked(spec, as: rounded.packed.format, codes: codes.span, scales: scales.span)
      } dense: { () throws in
        var values = Tensor(rows: spec.rows, columns: spec.columns, in: Arena("tensor of a unit"))
        do {
          var span = values.mutableSpan
          try Self.readDense(spec, from: container, into: &span)
        }
        try anchor.addDense(spec, values: values.span)
      }
    }
  }

  /// Everything is in the anchor.
  func remove() throws { try CommittedDirectories.remove(directory) }

  // MARK: Reading

  private func read(
    _ spec: ParameterSpec, from container: TensorContainer, packed: (SharedRounding.Rounded) throws -> Void,
    dense: () throws -> Void
  ) throws {
    let tensor = try container.requireTensor(spec.name)
    guard !tensor.isDense else { return try dense() }
    let rounded = SharedRounding.Rounded(try MXFormat(named: tensor.format), rows: spec.rows, columns: spec.columns)
    do {
      var codes = rounded.packed.codes.region(0..<rounded.packed.codes.count)
      var scales = rounded.packed.scales.region(0..<rounded.packed.scales.count)
      var codeSpan = codes.mutableSpan, scaleSpan = scales.mutableSpan
      try container.readPacked(spec.name, rows: 0..<spec.rows, codes: &codeSpan, scales: &scaleSpan)
    }
    try packed(rounded)
  }

  private static func readDense(
    _ spec: ParameterSpec, from container: TensorContainer, into values: inout MutableSpan<Float>
  ) throws {
    if spec.shape.count == 2 {
      try container.readDense(spec.name, rows: 0..<spec.rows, into: &values)
    } else {
      try container.readDense(spec.name, into: &values)
    }
  }

  private func figures(of container: TensorContainer) throws -> Unit {
    var unit = Unit()
    let metadata = container.metadata
    unit.figures = try (metadata["figures"]?.array ?? []).map { json in
      guard let figures = ProductFigures(json: json) else {
        throw CalibrationError(container.directory, "its figures cannot be read", hint: "Remove \(directory) to begin anew.")
      }
      return figures
    }
    unit.droppedSites = (metadata["dropped_sites"]?.array ?? []).compactMap(\.string)
    unit.normScales = (metadata["norm_scales"]?.array ?? []).compactMap(\.double)
    unit.coordinates = metadata["coordinates"]?.string
    return unit
  }
}

/// Where the tensors of a layer stand in the products that are rounded as one.
struct ProductPlaces {
  struct Place {
    /// The product's first tensor.
    let product: String
    let firstRow: Int
  }

  private var places: [String: Place] = [:]

  init(_ unit: UnitLayout) {
    var product: (name: String, site: String, rows: Int)?
    for spec in unit.parameters {
      guard let site = spec.rotationPlace?.site.rawValue else { continue }
      if product?.site != site { product = (spec.name, site, 0) }
      places[spec.name] = Place(product: product!.name, firstRow: product!.rows)
      product!.rows += spec.rows
    }
  }

  subscript(name: String) -> Place? { places[name] }
  /// Tensors of a product.
  func tensors(of product: String) -> [String] { places.filter { $0.value.product == product }.map(\.key).sorted() }
  var products: Set<String> { Set(places.values.map(\.product)) }
}
