/// Choose one option per item, so that the costs sum to the least that a budget of bytes allows: a knapsack with exactly
/// one option from each class.
///
/// Solved by dynamic programming over the bytes above the smallest options. The unit of the table is the greatest common
/// divisor of all such differences, which loses nothing: for the shapes of a transformer it is large (a matrix whose sides
/// are multiples of 256 differs by multiples of 8 KiB between formats), and the table small. Where sides are odd and the
/// table would outgrow `cellLimit`, the unit is a multiple of it and differences are rounded *up*: the budget still holds
/// to the byte, the optimum is missed by less than a unit per item, and what is left over is spent greedily.
package struct BudgetProblem {
  /// Item by item, of each option: finite, not negative.
  package let costs: [[Double]]
  package let bytes: [[Int]]
  /// Choices that the table may hold, one byte each.
  let cellLimit: Int

  package init(costs: [[Double]], bytes: [[Int]], cellLimit: Int = 1 << 26) {
    precondition(costs.count == bytes.count && zip(costs, bytes).allSatisfy { $0.count == $1.count && !$0.isEmpty })
    precondition(costs.allSatisfy { $0.count < 256 && $0.allSatisfy { $0 >= 0 && $0.isFinite } })
    self.costs = costs
    self.bytes = bytes
    self.cellLimit = cellLimit
  }

  private var least: [Int] { bytes.map { $0.min() ?? 0 } }
  package var leastBytes: Int { least.reduce(0, +) }

  package func cost(of choice: [Int]) -> Double { choice.enumerated().reduce(0) { $0 + costs[$1.offset][$1.element] } }
  package func bytes(of choice: [Int]) -> Int { choice.enumerated().reduce(0) { $0 + bytes[$1.offset][$1.element] } }

  /// The option of each item; nil where even the smallest do not fit. Of equally good choices one with fewer bytes.
  package func solve(budget: Int) -> [Int]? {
    guard budget >= leastBytes else { return nil }
    let least = least
    let most = zip(bytes, least).reduce(0) { $0 + ($1.0.max() ?? 0) - $1.1 }
    let spare = min(budget - leastBytes, most)
    let divisor = zip(bytes, least).reduce(0) { divisor, item in
      item.0.reduce(divisor) { Self.commonDivisor($0, $1 - item.1) }
    }
    var unit = max(1, divisor)
    let cells = max(1, cellLimit / max(1, costs.count))
    if spare / unit >= cells { unit *= (spare / unit + cells) / cells }
    var best = dynamicProgram(least, unit: unit, columns: spare / unit + 1)
    if unit > max(1, divisor) { spendRest(&best, budget: budget) }
    // A table of a rounded unit could miss a choice that everybody would see: the same option everywhere.
    for option in 0..<(costs.map(\.count).min() ?? 0) {
      let uniform = Array(repeating: option, count: costs.count)
      if bytes(of: uniform) <= budget, cost(of: uniform) < cost(of: best) { best = uniform }
    }
    return best
  }

  /// best[b]: the least cost of the items so far with at most b units above the smallest options.
  private func dynamicProgram(_ least: [Int], unit: Int, columns: Int) -> [Int] {
    var best = [Double](repeating: 0, count: columns), next = best
    var choices = [UInt8](repeating: 0, count: columns * costs.count)
    let steps = zip(bytes, least).map { item, least in item.map { ($0 - least + unit - 1) / unit } }
    for item in costs.indices {
      // Ascending by size: of equal costs the smaller option stays.
      let options = costs[item].indices.sorted { (bytes[item][$0], $0) < (bytes[item][$1], $1) }
      for column in 0..<columns {
        var least = Double.infinity, chosen = 0
        for option in options where steps[item][option] <= column {
          let cost = best[column - steps[item][option]] + costs[item][option]
          if cost < least { (least, chosen) = (cost, option) }
        }
        next[column] = least
        choices[item * columns + column] = UInt8(chosen)
      }
      swap(&best, &next)
    }
    // The fewest units that reach the optimum: later columns only repeat it.
    var column = best.firstIndex { $0 == best[columns - 1] } ?? columns - 1
    var choice = [Int](repeating: 0, count: costs.count)
    for item in costs.indices.reversed() {
      choice[item] = Int(choices[item * columns + column])
      column -= steps[item][choice[item]]
    }
    return choice
  }

  /// Upgrades by the largest gain per byte as long as one fits.
  private func spendRest(_ choice: inout [Int], budget: Int) {
    var used = bytes(of: choice)
    while true {
      var best: (item: Int, option: Int, gain: Double)?
      for item in costs.indices {
        for option in costs[item].indices {
          let gain = costs[item][choice[item]] - costs[item][option]
          let extra = bytes[item][option] - bytes[item][choice[item]]
          guard gain > 0, used + extra <= budget else { continue }
          let rate = extra <= 0 ? Double.infinity : gain / Double(extra)
          if rate > best?.gain ?? 0 { best = (item, option, rate) }
        }
      }
      guard let step = best else { return }
      used += bytes[step.item][step.option] - bytes[step.item][choice[step.item]]
      choice[step.item] = step.option
    }
  }

  private static func commonDivisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : commonDivisor(b, a % b) }
}
