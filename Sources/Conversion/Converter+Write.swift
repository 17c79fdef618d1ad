import Checkpoints
import Formats
import Quantization
import Transformer

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension Converter {
  /// Codes and scales into an anchor. One in the source's own format is read back and checked before it appears.
  func writeAnchor(_ output: ConversionPlan.Output, _ progress: (ConversionProgress) -> Void) throws {
    let slice = try slice(to: output), formats = output.formats
    try AnchorExport.write(
      directory: output.directory, format: output.format, scales: scales, layout: layout,
      sidecars: try sidecars(of: .anchor), metadata: try metadata(output), verifying: isCopy(output)
    ) { export in
      try forEachRun(output, progress) { spec, run in
        if quantized.contains(spec.name) {
          try encode(spec, run, output, slice)
          try rows.withCodes(spec, run) { try export.addPacked(spec, as: formats[spec.name], rows: run, codes: $0, scales: $1) }
        } else {
          try rows.read(spec, run, from: source)
          try rows.withValues(spec, run) { try export.addDense(spec, rows: run, values: $0) }
        }
      }
    }
  }

  /// The values that the anchor of this format would have, in an ordinary model folder, with hashes.
  func writeFolder(_ output: ConversionPlan.Output, _ progress: (ConversionProgress) -> Void) throws {
    let slice = try slice(to: output), formats = output.formats
    try writeFolder(output.directory, metadata: ["mfqat_format": output.mix.description, "mfqat_method": output.label]) {
      writer in
      try forEachRun(output, progress) { spec, run in
        if quantized.contains(spec.name) {
          try encode(spec, run, output, slice)
          rows.dequantize(spec, run, from: formats[spec.name] ?? output.format)
        } else {
          try rows.read(spec, run, from: source)
        }
        foldRotations(spec, run)
        try rows.withValues(spec, run) { try writer.append(spec.name, $0) }
      }
    }
  }

  /// Makes the values of a rotated weight those of an ordinary model, which multiplies unrotated activations.
  private func foldRotations(_ spec: ParameterSpec, _ run: Range<Int>) {
    guard let rotations, let (layer, site) = spec.rotationPlace else { return }
    rows.unrotate(spec, run, rotations, layer: layer, site: site)
  }

  /// The weights as they are, in an ordinary model folder, with hashes.
  func writeFullPrecision(_ directory: String, _ progress: (_ done: Int, _ total: Int) -> Void) throws {
    try writeFolder(directory, metadata: [:]) { writer in
      try forEachRun(progress) { spec, run in
        try rows.read(spec, run, from: source)
        foldRotations(spec, run)
        try rows.withValues(spec, run) { try writer.append(spec.name, $0) }
      }
    }
  }

  /// A model folder whose tensors `body` appends.
  private func writeFolder(
    _ directory: String, metadata: [String: String], _ body: (SafeTensorsWriter) throws -> Void
  ) throws {
    let folder = try AtomicDirectory(target: directory)
    do {
      let writer = try SafeTensorsWriter(
        folder.path(ModelFolderTensors.singleFile),
        tensors: layout.all.map { SafeTensorsWriter.Declaration($0.spec.name, .f32, $0.spec.shape) },
        metadata: metadata.merging(["format": "pt"]) { $1 })
      try body(writer)
      var hashes = FolderHashes()
      try hashes.add(writer)
      try writer.commit()
      for sidecar in try sidecars(of: .dense) {
        try folder.write(sidecar.bytes, to: sidecar.name)
        hashes.add(file: sidecar.name, bytes: sidecar.bytes)
      }
      try folder.write(hashes.serialized, to: FolderHashes.fileName)
      try folder.commit()
    } catch {
      folder.abandon()
      throw error
    }
  }

  /// Brings codes of the output's format into `rows`.
  private func encode(
    _ spec: ParameterSpec, _ run: Range<Int>, _ output: ConversionPlan.Output, _ slice: AnchorSlice?
  ) throws {
    guard let anchor else {
      try rows.readFinite(spec, run, from: source)
      rows.quantize(spec, run, to: output.format, rule: scaleRule)
      return
    }
    try rows.readCodes(spec, run, from: anchor)
    if let plan = slice?.compiled(for: spec.name) { rows.slice(spec, run, with: plan) }
  }

  private func forEachRun(
    _ output: ConversionPlan.Output, _ progress: (ConversionProgress) -> Void,
    _ body: (ParameterSpec, Range<Int>) throws -> Void
  ) throws {
    try forEachRun({ progress(ConversionProgress(format: output.format, done: $0, total: $1)) }, body)
  }

  private func forEachRun(
    _ progress: (_ done: Int, _ total: Int) -> Void, _ body: (ParameterSpec, Range<Int>) throws -> Void
  ) throws {
    let total = layout.elementCount
    var done = 0
    for (_, spec) in layout.all {
      for run in rows.runs(of: spec) {
        try body(spec, run)
        done += run.count * spec.columns
        progress(done, total)
      }
    }
  }

  private func isCopy(_ output: ConversionPlan.Output) -> Bool {
    if case .stored = output.method { true } else { false }
  }

  /// Provenance: a copy keeps the source's, a slice names its anchor and takes the anchor's along.
  private func metadata(_ output: ConversionPlan.Output) throws -> JSONObject {
    var metadata = JSONObject()
    guard let anchor else {
      metadata["method"] = "direct"
      return metadata
    }
    if isCopy(output) { return anchor.metadata }
    metadata["method"] = "slice"
    metadata["sliced_from"] = .string(anchor.mix.description)
    let manifest = try FileBytes.read(anchor.path + "/" + ContainerManifest.fileName)
    metadata["anchor_manifest_hash"] = .string(ContentHash(manifest).description)
    metadata["anchor_metadata"] = .object(anchor.metadata)
    return metadata
  }

  /// Bytes of the files in a directory.
  func writtenBytes(_ directory: String) throws(ConversionError) -> Int {
    var sum = 0
    for name in FileBytes.names(in: directory) {
      var status = stat()
      guard unsafe stat(directory + "/" + name, &status) == 0 else {
        throw ConversionError(directory, "'\(name)' cannot be looked at any more",
          hint: "Something else changes this directory: convert again.")
      }
      sum += Int(status.st_size)
    }
    return sum
  }
}
