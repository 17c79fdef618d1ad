public import Communication
import Formats
import Kernels
import Quantization
import Tensors
public import Transformer

extension CalibrationRun {
  /// Chooses formats before a calibration: sensitivities of the groups by noise (``NoiseSensitivity``), errors of the
  /// candidates by rounding to nearest, the best within the budget by ``FormatAllocation``.
  ///
  ///     let report = try CalibrationRun.allocate(request, model, settings, sample: sample, on: communicator)
  ///     settings.adopt(report, of: model)
  ///
  /// Both are measured on the weights that will be rounded: folded and rotated as the method does, without scales that
  /// text decides. Errors have the scales that the method would choose; that error feedback makes them count for less is
  /// taken to be alike in all groups. The same on any number of ranks, so a calibration that is started again chooses
  /// again what it chose. Memory: the whole model in fp32 on every rank. Collective.
  ///
  /// - Parameters:
  ///   - settings: of the calibration, its formats aside.
  ///   - progress: measurements of this rank done, and in all.
  public static func allocate(
    _ request: AllocationRequest, _ source: any ModelSource, _ settings: CalibrationSettings, sample: CalibrationSample,
    on communicator: Communicator, progress: (_ done: Int, _ total: Int) -> Void = { _, _ in }
  ) throws -> AllocationReport {
    let arena = Arena("allocation")
    let (run, groups) = try communicator.onEveryRank {
      var draft = settings
      draft.allocation = [:]
      // Refuses candidates that the method does not do.
      for format in request.candidates {
        draft.format = format
        try draft.check()
      }
      let run = try CalibrationRun(source, draft, sample: sample, on: communicator)
      let selected = try source.quantizedNames(settings.selection, ParameterLayout(source.configuration))
      let groups = AllocationGroup.all(of: run.target, where: selected.contains)
      try request.check(groups, sample: sample)
      return (run, groups)
    }
    let parameters = try communicator.onEveryRank { try run.unrounded(in: arena) }
    let errors = try run.errors(of: parameters, groups, request.candidates, in: arena)
    let noise = NoiseSensitivity(noise: run.target.transforms.isEmpty ? .blocks : .even)
    let probe = try communicator.onEveryRank {
      try OutputProbe(
        parameters, windows: Array(sample.sequences.prefix(request.windows)), sequences: max(1, 2048 / sample.context), in: arena)
    }
    let sensitivities = try noise.measure(
      parameters, groups: groups, probe: probe, on: communicator, in: arena, progress: progress)
    return try communicator.onEveryRank {
      try AllocationReport(
        sensitivities, errors: errors, budget: request.bitsPerWeight, settings: noise, objective: probe.objective,
        tokensScored: probe.tokensScored)
    }
  }

  /// All weights as the first layer's rounding finds them.
  private func unrounded(in arena: Arena) throws -> Parameters {
    let parameters = Parameters(target, in: arena)
    for unit in layout.units.indices { try read(unit, into: parameters) }
    fixed?.apply(embedding: &parameters.embedding)
    try fixed?.apply(finalNorm: &parameters.finalNorm, head: &parameters.head)
    // A model that is rotated already keeps what it has.
    let rotations = fixed == nil ? nil : try OnlineRotations(target.transforms, for: target, in: arena)
    for (index, layer) in parameters.layers.enumerated() {
      try fixed?.apply(to: layer, index: index)
      rotations?.rotateWeights(of: layer, index: index)
    }
    return parameters
  }

  /// Of rounding to nearest with the method's scales. Groups are shared among the ranks. Collective.
  private func errors(
    of parameters: Parameters, _ groups: [AllocationGroup], _ formats: [MXFormat], in arena: Arena
  ) throws -> FormatErrors {
    let slots = OrderedSum(slots: groups.count * formats.count, on: communicator, in: arena)
    try communicator.onEveryRank {
      for index in stride(from: communicator.rank, to: groups.count, by: communicator.size) {
        let group = groups[index]
        for (column, format) in formats.enumerated() {
          var error = 0.0, norm = 0.0
          for spec in group.tensors {
            let weight = parameters.units[group.unit].flat.region(spec.offset, rows: spec.rows, columns: spec.columns)
            let sums = try errors(of: weight, format, name: spec.name)
            error += sums.weight
            norm += sums.weightReference
          }
          slots.place(norm > 0 ? error / norm : 0, at: index * formats.count + column)
        }
      }
    }
    let all = try slots.slotsOfAllRanks()
    return FormatErrors(
      formats: formats, squares: groups.indices.map { Array(all[$0 * formats.count..<($0 + 1) * formats.count]) })
  }

  private func errors(of weight: borrowing Tensor, _ format: MXFormat, name: String) throws -> (weight: Double, weightReference: Double) {
    var plan = settings.rounding(format)
    plan.method = .nearest
    plan.order = .natural
    plan.targets = []
    let scratch = Arena("rounding for an allocation")
    var packed = PackedTensor(format, rows: weight.rows, columns: weight.columns, in: scratch)
    try RoundingSolver(plan, columns: weight.columns, gram: nil, name: name)
      .solve(weight, tiles: 0..<RoundingSolver.tileCount(rows: weight.rows), into: &packed)
    var rounded = Tensor(rows: weight.rows, columns: weight.columns, in: scratch)
    BlockCodec.dequantize(&rounded, from: packed)
    var rows = HostBuffer<Double>(count: weight.rows, in: scratch)
    return (
      weight: unsafe rowSquares(weight, minus: rounded.unsafeAddress(), into: &rows),
      weightReference: rowSquares(weight, minus: nil, into: &rows)
    )
  }
}

extension CalibrationSettings {
  /// Takes over the formats of an allocation; the one of most weights becomes that of the anchor.
  public mutating func adopt(_ report: AllocationReport, of source: any ModelSource) {
    allocation = report.plan.formats
    format = report.plan.mix(ParameterLayout(source.configuration)).dominant ?? format
  }
}
