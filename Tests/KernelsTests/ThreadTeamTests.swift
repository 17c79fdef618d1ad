import Formats
import Kernels
import Tensors
import Testing
import TestSupport

#if canImport(Glibc)
  import Glibc
#endif

/// Loops over threads, and every operation that is cut into them: the same bits for any number of threads.
///
/// The team is the process's: these tests change its size one after the other, and leave it at one thread. Other suites
/// may run beside them, since results do not depend on it.
@Suite(.serialized) struct ThreadTeamTests {
  private static let sizes = [1, 2, 3]

  private func withTeams(_ body: (Int) throws -> Void) rethrows {
    defer { ThreadTeam.configure(threads: 1) }
    for size in Self.sizes {
      ThreadTeam.configure(threads: size)
      #expect(ThreadTeam.shared.threads == size)
      try body(size)
    }
  }

  /// Runs `make` with every team and expects the same bits of all.
  private func expectSameBits(_ name: String, _ make: (_ arena: Arena) -> [Float]) {
    var first: [Float] = []
    withTeams { size in
      let values = make(Arena("test"))
      if first.isEmpty { first = values }
      let different = values.indices.first { values[$0].bitPattern != first[$0].bitPattern }
      #expect(values.count == first.count && !values.isEmpty && different == nil, "\(name), \(size) threads")
    }
  }

  private func tensor(_ rows: Int, _ columns: Int, seed: UInt64, in arena: Arena) -> Tensor {
    let random = CounterRandom(seed: seed, stream: "team")
    var tensor = Tensor(rows: rows, columns: columns, in: arena)
    var span = tensor.mutableSpan
    for i in 0..<rows * columns { span[i] = Float(random.uniform(UInt64(i)) * 2 - 1) }
    return tensor
  }

  private func values(_ tensor: borrowing Tensor) -> [Float] { (0..<tensor.count).map { tensor.span[$0] } }

  @Test(arguments: [0, 1, 2, 7, 1000]) func everyItemOnce(count: Int) {
    withTeams { size in
      let arena = Arena("test")
      var runs = HostBuffer<Int64>(count: count + 1, in: arena)
      for round in 1...50 {
        let places = unsafe runs.unsafeMutableAddress()
        ThreadTeam.shared.parallel(count) { item, worker in
          unsafe places[item] += worker < size ? 1 : 1 << 32
        }
        let wrong = (0..<count).filter { runs[$0] != Int64(round) }
        #expect(wrong.isEmpty && runs[count] == 0, "\(size) threads, round \(round)")
      }
    }
  }

  /// Items of one worker follow each other, and no worker beyond the limit takes part.
  @Test func workersHaveScratchOfTheirOwn() {
    withTeams { size in
      let arena = Arena("test"), limit = 2
      var busy = HostBuffer<Int64>(count: limit, in: arena), bad = HostBuffer<Int64>(count: 200, in: arena)
      let flags = unsafe busy.unsafeMutableAddress(), failures = unsafe bad.unsafeMutableAddress()
      ThreadTeam.shared.parallel(200, workers: limit) { item, worker in
        guard worker < limit else {
          unsafe failures[item] = 1
          return
        }
        unsafe failures[item] = flags[worker]
        unsafe flags[worker] = 1
        usleep(20)
        unsafe flags[worker] = 0
      }
      #expect((0..<200).allSatisfy { bad[$0] == 0 }, "\(size) threads")
    }
  }

  /// A loop inside a loop runs where it stands.
  @Test func nestedLoopsRunInline() {
    withTeams { _ in
      var sums = HostBuffer<Int64>(count: 20, in: Arena("test"))
      let places = unsafe sums.unsafeMutableAddress()
      ThreadTeam.shared.parallel(20) { item, _ in
        ThreadTeam.shared.parallel(10) { inner, worker in unsafe places[item] += Int64(inner + 1000 * worker) }
      }
      #expect((0..<20).allSatisfy { sums[$0] == 45 })
    }
  }

  /// Several threads of the process run loops at a time: one gets the team, the others do their own work.
  @Test func otherThreadsRunTheirOwnLoops() async {
    ThreadTeam.configure(threads: 3)
    defer { ThreadTeam.configure(threads: 1) }
    await withTaskGroup(of: Bool.self) { group in
      for _ in 0..<4 {
        group.addTask {
          var sums = HostBuffer<Int64>(count: 64, in: Arena("test"))
          let places = unsafe sums.unsafeMutableAddress()
          for _ in 0..<500 { ThreadTeam.shared.parallel(64) { item, _ in unsafe places[item] += Int64(item) } }
          return (0..<64).allSatisfy { sums[$0] == Int64($0 * 500) }
        }
      }
      for await right in group { #expect(right) }
    }
  }

  @Test(.enabled(if: AllocationCounter.isAvailable, "\(AllocationCounter.absence)"))
  func aLoopAllocatesNothing() {
    withTeams { size in
      var sums = HostBuffer<Int64>(count: 64, in: Arena("test"))
      let places = unsafe sums.unsafeMutableAddress()
      let count = AllocationCounter.count {
        for _ in 0..<100 {
          ThreadTeam.shared.parallel(64) { item, _ in unsafe places[item] += 1 }
          ThreadTeam.shared.parallel(64, by: 3) { range in for item in range { unsafe places[item] += 1 } }
        }
      }
      #expect(count == 0 && sums[63] == 200, "\(size) threads")
    }
  }

  @Test(arguments: [(70, 4, 2, 16), (150, 3, 3, 48), (9, 6, 1, 8)])
  func attention(_ S: Int, _ H: Int, _ G: Int, _ d: Int) {
    expectSameBits("attention") { arena in
      let B = 3, T = B * S, attention = Attention(sequences: B, length: S, queryHeads: H, keyHeads: G, headDimension: d)
      let columns = Attention.Columns(query: 0, key: H * d, value: (H + G) * d)
      let x = tensor(T, (H + 2 * G) * d, seed: 1, in: arena), dy = tensor(T, H * d, seed: 2, in: arena)
      var y = Tensor(rows: T, columns: H * d, in: arena), lse = Tensor(rows: T, columns: H, in: arena)
      var scratch = Tensor(rows: attention.scratchRows, columns: attention.scratchColumns, in: arena)
      attention.forward(&y, lse: &lse, queryKey: x, values: x, columns: columns, scratch: &scratch)
      var dx = Tensor(rows: T, columns: x.columns, in: arena), delta = Tensor(rows: T, columns: H, in: arena)
      attention.backward(
        &dx, columns: columns, from: dy, y: y, lse: lse, queryKeyValue: x, delta: &delta, scratch: &scratch)
      return values(y) + values(lse) + values(dx)
    }
  }

  /// Two queries' worth of scratch rows for three threads: two take part.
  @Test func attentionWithLittleScratch() {
    expectSameBits("attention") { arena in
      let S = 40, H = 8, d = 8, attention = Attention(sequences: 2, length: S, queryHeads: H, keyHeads: H, headDimension: d)
      let x = tensor(2 * S, 3 * H * d, seed: 3, in: arena)
      var y = Tensor(rows: 2 * S, columns: H * d, in: arena), lse = Tensor(rows: 2 * S, columns: H, in: arena)
      var scratch = Tensor(rows: 2, columns: attention.scratchColumns, in: arena)
      attention.forward(
        &y, lse: &lse, queryKey: x, values: x, columns: .init(query: 0, key: H * d, value: 2 * H * d), scratch: &scratch)
      return values(y) + values(lse)
    }
  }

  @Test func elementsAndRows() {
    expectSameBits("norms, gates, rotations, sums") { arena in
      let T = 700, D = 384
      let x = tensor(T, 2 * D, seed: 4, in: arena), gain = tensor(1, 2 * D, seed: 5, in: arena)
      var y = Tensor(rows: T, columns: 2 * D, in: arena), rstd = Tensor(rows: 1, columns: T, in: arena)
      RMSNorm.forward(&y, rstd: &rstd, of: x, gain: gain, epsilon: 1e-5)
      var result = values(y) + values(rstd)
      var perHead = Tensor(rows: T, columns: 2 * D, in: arena), headRstd = Tensor(rows: 8, columns: T, in: arena)
      RMSNorm.forwardPerHead(
        &perHead, toColumn: 0, rstd: &headRstd, rstdRow: 1, of: x, fromColumn: 0, heads: 6,
        gain: tensor(1, 128, seed: 6, in: arena), epsilon: 1e-5)
      result += values(perHead) + values(headRstd)
      var gated = Tensor(rows: T, columns: D, in: arena), dGateUp = Tensor(rows: T, columns: 2 * D, in: arena)
      SwiGLU.forward(&gated, of: x)
      SwiGLU.backward(&dGateUp, from: gated, input: x)
      result += values(gated) + values(dGateUp)
      y.accumulate(dGateUp)
      y.multiply(by: 0.3)
      RotaryEmbedding.apply(
        &y, column: 3, heads: 5, cosines: tensor(100, 32, seed: 7, in: arena), sines: tensor(100, 32, seed: 8, in: arena),
        first: 2, period: 90, direction: .backward)
      dGateUp.copy(from: y)
      y.fillWithZeros()
      return result + values(dGateUp) + values(y)
    }
  }

  @Test func optimizer() {
    expectSameBits("AdamW, sums of squares") { arena in
      let n = 200_001, range = 5..<n - 3
      var master = tensor(1, n, seed: 9, in: arena), m = tensor(1, n, seed: 10, in: arena)
      var v = Tensor(rows: 1, columns: n, in: arena)
      let gradient = tensor(1, n, seed: 11, in: arena)
      AdamW(learningRate: 1e-2, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weightDecay: 0.1, step: 3, gradientScale: 0.5)
        .update(master: &master, m: &m, v: &v, gradient: gradient, range: range, decays: true)
      var sums = HostBuffer<Double>(count: 2001, in: arena)
      GradientNorm.rowSums(of: gradient, at: 1, rows: 2000, columns: 100, into: &sums, at: 1)
      return values(master) + values(m) + values(v) + (0..<sums.count).map { Float(sums[$0]) }
    }
  }

  @Test func codec() {
    expectSameBits("codec") { arena in
      let rows = 900, columns = 200
      let x = tensor(rows, columns, seed: 18, in: arena)
      var anchor = PackedTensor(.mxint8, rows: rows, columns: columns, in: arena)
      var cut = PackedTensor(.mxint4, rows: rows, columns: columns, in: arena)
      var y = Tensor(rows: rows, columns: columns, in: arena), rounded = Tensor(rows: rows, columns: columns, in: arena)
      BlockCodec.quantize(&anchor, from: x)
      BlockCodec.slice(&cut, from: anchor, plan: try! SlicePlan(from: .mxint8, to: .mxint4))
      BlockCodec.dequantize(&y, from: cut)
      BlockCodec.roundTrip(&rounded, of: x, format: .mxint4)
      var gradient = tensor(rows, columns, seed: 19, in: arena)
      BlockCodec.clipGradient(&gradient, at: x, format: .mxint4)
      return values(y) + values(rounded) + values(gradient)
    }
  }

  @Test func languageHead() {
    expectSameBits("head") { arena in
      let T = 130, V = 3000, D = 48, head = LanguageHead(tokens: T, vocabulary: V)
      let hidden = tensor(T, D, seed: 12, in: arena), weight = tensor(V, D, seed: 13, in: arena)
      let otherHidden = tensor(T, D, seed: 14, in: arena), otherWeight = tensor(V, D, seed: 15, in: arena)
      var targets = HostBuffer<Int32>(count: T, in: arena), loss = HostBuffer<Double>(count: T, in: arena)
      for t in 0..<T { targets[t] = Int32(t % 7 == 3 ? -1 : t * 17 % V) }
      var logits = Tensor(rows: head.chunk, columns: V, in: arena), teacherLogits = Tensor(rows: head.chunk, columns: V, in: arena)
      var dHidden = Tensor(rows: T, columns: D, in: arena), dWeight = Tensor(rows: V, columns: D, in: arena)
      var result: [Float] = []
      head.forward(loss: &loss, of: hidden, weight: weight, targets: targets, logits: &logits) {}
      result += (0..<T).map { Float(loss[$0]) }
      head.forwardBackward(
        loss: &loss, dHidden: &dHidden, dWeight: &dWeight, of: hidden, weight: weight, targets: targets, scale: 0.3,
        logits: &logits) {}
      result += (0..<T).map { Float(loss[$0]) } + values(dHidden) + values(dWeight)
      head.distill(
        loss: &loss, dHidden: &dHidden, dWeight: &dWeight, of: hidden, weight: weight, teacherHidden: otherHidden,
        teacherWeight: otherWeight, targets: targets, scale: 0.3,
        .init(hardWeight: 0.5, softWeight: 0.5, temperature: 2), logits: &logits, teacherLogits: &teacherLogits) {}
      result += (0..<T).map { Float(loss[$0]) } + values(dHidden) + values(dWeight)
      var kl = HostBuffer<Double>(count: T, in: arena), same = HostBuffer<UInt8>(count: T, in: arena)
      head.compare(
        kl: &kl, sameTop: &same, reference: hidden, referenceWeight: weight, candidate: otherHidden,
        candidateWeight: otherWeight, logits: &logits, otherLogits: &teacherLogits)
      return result + (0..<T).map { Float(kl[$0]) } + (0..<T).map { Float(same[$0]) }
    }
  }

  /// Products are cut into pieces of rows: with OpenBLAS this leaves the bits alone, on every kernel of it seen so far.
  @Test(arguments: [(515, 300, 200), (640, 96, 1000), (2048, 288, 64), (300, 700, 130), (129, 1000, 999)])
  func products(_ T: Int, _ N: Int, _ K: Int) {
    expectSameBits("products \(T) x \(N) x \(K)") { arena in
      let x = tensor(T, K, seed: 16, in: arena), weight = tensor(N, K, seed: 17, in: arena)
      var y = Tensor(rows: T, columns: N, in: arena), dx = Tensor(rows: T, columns: K, in: arena)
      var dWeight = Tensor(rows: N, columns: K, in: arena)
      Linear.forward(&y, of: x, weight: weight)
      Linear.forward(&y, of: x, weight: weight, output: .accumulate)
      Linear.backwardInput(&dx, from: y, weight: weight)
      Linear.backwardWeight(&dWeight, from: y, input: x)
      return values(y) + values(dx) + values(dWeight)
    }
  }

  /// Panels of the longer side are the items, whichever side that is.
  @Test(arguments: [(400, 300, 200), (130, 700, 64), (97, 20, 33)])
  func lowPrecisionProducts(_ m: Int, _ n: Int, _ depth: Int) {
    for (name, _, quantizer) in LowPrecisionProductTests.quantizers {
      expectSameBits("\(name), \(m) x \(n) x \(depth)") { arena in
        let x = tensor(m, depth, seed: 20, in: arena), w = tensor(n, depth, seed: 21, in: arena)
        return LowPrecisionProductTests.product(x, w, quantizer)
      }
    }
  }
}
