import Checkpoints
import Formats
import Quantization
import Transformer

extension CalibrationRun {
  /// Puts the anchor together from the finished units, and removes them. Root only.
  func writeAnchor(_ store: UnitStore, _ out: String, _ record: inout CalibrationRecord) throws {
    var formats: [String: MXFormat] = [:]
    for unit in layout.units {
      let places = ProductPlaces(unit)
      for spec in unit.parameters {
        guard let place = places[spec.name], record.figures.contains(where: { $0.name == place.product }) else { continue }
        formats[spec.name] = settings.format(of: place.product)
      }
    }
    record.bitsPerWeight = FormattedWeights.bits(layout, formats: formats).perWeight
    var metadata = JSONObject()
    metadata["method"] = .string("calibrate")
    var calibration = record.metadata.object ?? JSONObject()
    calibration["model"] = modelIdentity.map { .string($0) }
    metadata["calibration"] = .object(calibration)
    try AnchorExport.write(
      directory: out, format: FormatMix(formats, layout).dominant ?? settings.format, scales: settings.storedScales,
      layout: layout, sidecars: try sidecars(), metadata: metadata, verifying: true
    ) { export in
      for unit in layout.units.indices { try store.export(unit, to: export) }
    }
    try store.remove()
  }

  /// The source's, its configuration stating what was changed.
  private func sidecars() throws -> [(name: String, bytes: [UInt8])] {
    try source.travellingSidecars().map { name, bytes in
      guard name == type(of: source).configurationFile else { return (name, bytes) }
      var text = try ConfigurationText.stating(target.transforms, in: bytes, source: source.path + "/" + name)
      if target.tiedHead != source.configuration.tiedHead {
        text = try ConfigurationText.stating(tiedHead: target.tiedHead, in: text, source: source.path + "/" + name)
      }
      return (name, text)
    }
  }
}

extension CalibrationSettings {
  /// What the container says of its scales.
  var storedScales: StoredScales { hasFloorScales ? .rule(.floor) : .fitted }
}
