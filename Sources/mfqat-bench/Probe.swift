import Kernels
import Tensors
import Transformer
import Foundation

@main struct Probe {
  static func main() throws {
    let json = """
    {"architectures":["LlamaForCausalLM"],"hidden_size":288,"intermediate_size":768,"num_hidden_layers":6,"num_attention_heads":6,"num_key_value_heads":6,"vocab_size":32000,"max_position_embeddings":256,"rms_norm_eps":1e-5,"tie_word_embeddings":true}
    """
    let c = try ModelConfiguration(json: Array(json.utf8), source: "bench")
    let arena = Arena("bench")
    let w = Parameters(c, in: arena), dw = Parameters(c, in: arena)
    let m = Parameters(c, in: arena), v = Parameters(c, in: arena)
    let initial = Initialization(seed: 1)
    for (i, u) in w.layout.units.enumerated() { for s in u.parameters { var r = w.units[i].flat.region(s.offset, rows: s.rows, columns: s.columns); var span = r.mutableSpan; initial.fill(&span, at: 0, rows: 0..<s.rows, of: s) } }
    let space = try Workspace(c, sequences: 8, length: 256, purpose: .training, in: arena)
    let random = CounterRandom(seed: 3)
    for t in 0..<2048 { space.ids[t] = Int32(random.integer(UInt64(t), below: 32000)) }
    for t in 0..<2048 { space.targets[t] = t % 256 == 255 ? -1 : space.ids[t + 1] }
    print(BLAS.coreName, KernelTable.current.name)
    for step in 1...8 {
      let clock = ContinuousClock(); let t0 = clock.now
      var marks: [Duration] = []
      DecoderModel.lossAndGradients(w, dw, space, scale: 1 / 2040) { _ in marks.append(clock.now - t0) }
      let t1 = clock.now
      let opt = AdamW(learningRate: 1e-4, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, step: step, gradientScale: 1)
      for i in 0..<w.units.count { opt.update(master: &w.units[i].flat, m: &m.units[i].flat, v: &v.units[i].flat, gradient: dw.units[i].flat, range: 0..<w.units[i].flat.count, decays: true) }
      let t2 = clock.now
      var l = 0.0; for t in 0..<2048 { l += space.loss[t] }
      let s = Double((t2 - t0).components.attoseconds) * 1e-18 + Double((t2 - t0).components.seconds)
      print(step, l / 2040, "step", t2 - t0, "adamw", t2 - t1, "head done", marks[0], "tok/s", 2048 / s)
    }
  }
}
