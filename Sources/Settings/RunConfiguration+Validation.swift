import Formats
import Quantization

/// What no key can check alone. Every problem is reported, not only the first.
extension RunConfiguration {
  func check(_ report: inout SettingsReport) {
    checkModel(&report)
    checkData(&report)
    checkQuantization(&report)
    checkTraining(&report)
    checkPrecision(&report)
    checkBatch(&report)
    checkCommunication(&report)
    checkTheRest(&report)
  }

  private func checkModel(_ report: inout SettingsReport) {
    switch (model.path, model.config) {
    case (nil, nil):
      report.add("model.path", expected: "model.path or model.config", found: "neither",
                 hint: "name a model folder, or give config and tokenizer to train a new model")
    case (_?, _?):
      report.add("model.config", expected: "model.path or model.config", found: "both",
                 hint: "a model read from path brings its own config.json")
    case (nil, let config?):
      if config.entries.isEmpty {
        report.add("model.config", expected: "the keys of a config.json", found: "an empty mapping")
      }
      if model.tokenizer == nil {
        report.add("model.tokenizer", expected: "the folder of tokenizer.json, because model.config brings none",
                   found: "nothing")
      }
      if case .integer(let positions)? = config["max_position_embeddings"], data.context > positions {
        report.add("data.context", expected: "at most model.config.max_position_embeddings, \(positions)",
                   found: "\(data.context)")
      }
    case (_?, nil): break
    }
    for (key, value) in [("path", model.path), ("tokenizer", model.tokenizer)] where value == "" {
      report.add("model.\(key)", expected: "a path", found: "empty text")
    }
    report.require("model.initialization.standard_deviation", model.initialization.standardDeviation, "above 0") { $0 > 0 }
  }

  private func checkData(_ report: inout SettingsReport) {
    if data.train.isEmpty {
      report.add("data.train", expected: "at least one text file, or one token file", found: "none")
    }
    for (key, files) in [("train", data.train), ("validation", data.validation)] {
      let tokenFiles = files.filter { $0.hasSuffix(".bin") }
      if !tokenFiles.isEmpty, files.count > 1 {
        report.add("data.\(key)", expected: "text files, or one token file alone",
                   found: "\(tokenFiles[0]) and \(files.count - 1) more",
                   hint: "mfqat prepare makes one token file of many texts")
      }
      if files.contains("") { report.add("data.\(key)", expected: "paths", found: "empty text") }
    }
    report.require("data.context", data.context, "2 or more, since every token but the first is predicted") { $0 >= 2 }
    if let windows = data.validationWindows {
      report.require("data.validation_windows", windows, "1 or more, or null") { $0 >= 1 }
    }
  }

  private func checkQuantization(_ report: inout SettingsReport) {
    let quantization = quantization
    func adopt(_ error: QuantizationError, as key: String? = nil) {
      report.add("quantization.\(key ?? error.subject.rawValue)", expected: error.expected, found: error.found,
                 hint: error.hint)
    }

    if quantization.formats.isEmpty {
      if quantization.objective == .quantized {
        report.add("quantization.formats", expected: "at least one format for objective quantized", found: "none")
      }
      for (key, list) in [("weights", quantization.weights), ("curriculum_fractions", quantization.curriculumFractions)]
      where !list.isEmpty {
        report.add("quantization.\(key)", expected: "none without quantization.formats", found: "\(list)")
      }
    } else if training.steps > 0 {
      do { _ = try schedule() } catch { adopt(error) }
    }

    if quantization.path == .direct, quantization.isAnchorAmbiguous {
      report.add("quantization.anchor", expected: "the format to write, because formats has MXINT and MXFP",
                 found: "auto", hint: "set quantization.anchor to mxint8 or mxfp8_e4m3")
    }
    do {
      try quantization.forwardPath.check(quantization.formats)
      // Only worth saying once the trained formats themselves agree with the anchor.
      do { try quantization.forwardPath.check(quantization.evaluateFormats) } catch { adopt(error, as: "evaluate_formats") }
    } catch { adopt(error) }
    if Set(quantization.evaluateFormats).count < quantization.evaluateFormats.count {
      report.add("quantization.evaluate_formats", expected: "each format once",
                 found: quantization.evaluateFormats.map(\.name).joined(separator: ", "))
    }

    if quantization.scaleRule != .floor, quantization.path == .viaAnchor {
      report.add("quantization.scale_rule", expected: "floor with path via_anchor", found: quantization.scaleRule.name,
                 hint: "only under floor does a slice need the same shift of the scale in every block; other rules need "
                   + "path: direct")
    }
    if quantization.activations != nil, quantization.objective == .fullPrecision {
      report.add("quantization.activations", expected: "none under objective full_precision",
                 found: quantization.activations?.name ?? "none")
    }
    if quantization.include.isEmpty, quantization.objective == .quantized {
      report.add("quantization.include", expected: "at least one pattern", found: "none",
                 hint: "for a run without quantization set objective: full_precision")
    }
    for pattern in quantization.include {
      do { _ = try GlobPattern(pattern, for: .include) } catch { adopt(error) }
    }
    for pattern in quantization.exclude {
      do { _ = try GlobPattern(pattern, for: .exclude) } catch { adopt(error) }
    }
  }

  private func checkTraining(_ report: inout SettingsReport) {
    let training = training
    report.require("training.steps", training.steps, "1 or more") { $0 >= 1 }
    report.require("training.learning_rate", training.learningRate, "above 0") { $0 > 0 }
    report.require("training.minimum_learning_rate_ratio", training.minimumLearningRateRatio, "from 0 to 1") {
      $0 >= 0 && $0 <= 1
    }
    if training.steps >= 1 {
      report.require("training.warmup_steps", training.warmupSteps, "from 0 to training.steps, \(training.steps)") {
        $0 >= 0 && $0 <= training.steps
      }
    }
    if training.betas.count != 2 || !training.betas.allSatisfy({ $0 >= 0 && $0 < 1 }) {
      report.add("training.betas", expected: "two numbers, from 0 to below 1", found: "\(training.betas)")
    }
    report.require("training.epsilon", training.epsilon, "above 0") { $0 > 0 }
    report.require("training.weight_decay", training.weightDecay, "0 or more") { $0 >= 0 }
    report.require("training.clip", training.clip, "0 or more") { $0 >= 0 }
    report.require("training.threads", training.threads, "from 1 to 256") { $0 >= 1 && $0 <= 256 }
  }

  private func checkPrecision(_ report: inout SettingsReport) {
    let precision = training.precision
    report.require("training.precision.rotation", precision.rotation, "16, 32, 64 or 128") {
      [16, 32, 64, 128].contains($0)
    }
    if !precision.format.element.isByteCarried {
      let able = MXFormat.all.filter(\.element.isByteCarried).map(\.name)
      report.add("training.precision.format", expected: "one of \(able.joined(separator: ", "))",
                 found: precision.format.name, hint: "its elements do not fit in a byte: use precision bf16")
    }
    func refuse(_ policy: RotationPolicy, at key: String, _ precisions: [MatmulPrecision]) {
      if let other = precisions.first(where: { $0 == .mx || $0 == .bf16 }) {
        report.add("training.precision.\(key)", expected: "contraction or none with \(other.rawValue)",
                   found: policy.rawValue, hint: "HALO has one scale a tensor: use it with int8 or fp32")
      }
    }
    let isHALO = precision.ofLayers.isHALO
    if isHALO { refuse(precision.policy, at: "policy", precision.ofLayers.precisions) }
    for entry in precision.layers.entries {
      guard case .text(let name) = entry.value, let change = PrecisionOverrides.Change(name) else {
        let names = PrecisionOverrides.Change.names
        var nearest: String?
        if case .text(let name) = entry.value { nearest = NearestName.plausible(for: name, among: names) }
        report.add("training.precision.layers.\(entry.key)", expected: "one of \(names.joined(separator: ", "))",
                   found: entry.value.json, hint: nearest.map { "did you mean \($0)?" } ?? "")
        continue
      }
      var arithmetic = precision.ofLayers
      switch change {
      case .policy(let policy): arithmetic.policy = policy
      case .precision(let bits): arithmetic = arithmetic.running(in: bits)
      }
      if arithmetic.isHALO { refuse(arithmetic.policy, at: "layers.\(entry.key)", arithmetic.precisions) }
      do { _ = try GlobPattern(entry.key, for: .precision) } catch {
        report.add("training.precision.layers.\(entry.key)", expected: error.expected, found: error.found, hint: error.hint)
      }
    }
  }

  /// The batch must split equally over lanes and micro-steps: a lane with fewer sequences would be a lane whose share of
  /// the sum depends on where it stands.
  private func checkBatch(_ report: inout SettingsReport) {
    let (batch, lanes, accumulation) = (training.batch, training.lanes, training.accumulation)
    let positive = [("batch", batch), ("lanes", lanes), ("accumulation", accumulation)].map { key, value in
      report.require("training.\(key)", value, "1 or more") { $0 >= 1 }
    }
    guard positive.allSatisfy({ $0 }) else { return }
    let (share, overflow) = lanes.multipliedReportingOverflow(by: accumulation)
    guard overflow || batch % share != 0 else { return }

    let below = overflow ? 0 : batch / share * share
    let batches = overflow ? [] : [below, below + share].filter { $0 > 0 }
    var hints = batches.isEmpty ? [] : ["set batch to \(batches.map(String.init).joined(separator: " or "))"]
    if batch % accumulation == 0 {
      let each = batch / accumulation
      let divisors = (1...min(each, 4096)).filter { each % $0 == 0 }
      let near = [divisors.last { $0 <= lanes }, divisors.first { $0 > lanes }].compactMap { $0 }
      hints.append("set lanes to \(near.map(String.init).joined(separator: " or "))")
    }
    let hint = hints.joined(separator: ", or ")
    if lanes > batch {
      report.add("training.lanes", expected: "at most training.batch, \(batch), so that every lane has a sequence",
                 found: "\(lanes)", hint: hint)
    } else {
      let product = accumulation > 1 ? "lanes x accumulation (\(lanes) x \(accumulation))" : "lanes (\(lanes))"
      report.add("training.batch", expected: "a multiple of \(product)", found: "\(batch)", hint: hint)
    }
  }

  private func checkTheRest(_ report: inout SettingsReport) {
    report.require("distillation.weight", distillation.weight, "0 or more") { $0 >= 0 }
    report.require("distillation.hard_weight", distillation.hardWeight, "0 or more") { $0 >= 0 }
    report.require("distillation.temperature", distillation.temperature, "above 0") { $0 > 0 }
    if distillation.weight == 0, distillation.hardWeight == 0 {
      report.add("distillation.hard_weight", expected: "a loss: hard_weight or weight above 0", found: "both 0")
    }
    if distillation.isOn, model.config != nil {
      report.add("distillation.weight", expected: "0 with model.config", found: "\(distillation.weight)",
                 hint: "a new model has no trained original to be its teacher")
    }
    report.require("checkpoint.every", checkpoint.every, "0 or more") { $0 >= 0 }
    report.require("checkpoint.keep", checkpoint.keep, "1 or more") { $0 >= 1 }
    report.require("checkpoint.keep_every", checkpoint.keepEvery, "0 or more") { $0 >= 0 }
    report.require("checkpoint.threads", checkpoint.threads, "from 1 to 256") { $0 >= 1 && $0 <= 256 }
    report.require("logging.every", logging.every, "1 or more") { $0 >= 1 }
    report.require("logging.validate_every", logging.validateEvery, "0 or more") { $0 >= 0 }
    if logging.validateEvery > 0, data.validation.isEmpty {
      report.add("logging.validate_every", expected: "0 without data.validation", found: "\(logging.validateEvery)",
                 hint: "name the files to validate on in data.validation")
    }
  }
}

extension SettingsReport {
  @discardableResult
  mutating func require<Value>(
    _ keyPath: String, _ value: Value, _ expected: String, _ holds: (Value) -> Bool
  ) -> Bool {
    if holds(value) { return true }
    add(keyPath, expected: expected, found: "\(value)")
    return false
  }
}
