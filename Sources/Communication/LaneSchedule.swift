/// Which rank computes which lane, and when.
///
/// A step's work is cut into L lanes, a number that belongs to the run and not to the machine. Lane l belongs to rank
/// l mod N, and round j is lanes jN ..< min((j+1)N, L), at most one a rank. So the contributions that reach an owner
/// round by round, ranks in ascending order within a round, are lanes 0, 1, 2, ... whatever N is: one running sum,
/// the same bits on any number of ranks. In the last round the ranks beyond L have no lane and still take part in its
/// collectives.
public struct LaneSchedule: Sendable, Hashable {
  public let lanes: Int
  public let ranks: Int

  public init(lanes: Int, ranks: Int) {
    precondition(lanes > 0 && ranks > 0, "\(lanes) lanes on \(ranks) ranks")
    self.lanes = lanes
    self.ranks = ranks
  }

  public var roundCount: Int { (lanes + ranks - 1) / ranks }

  public func lanes(inRound round: Int) -> Range<Int> {
    precondition(round >= 0 && round < roundCount, "round \(round) of \(roundCount)")
    return round * ranks..<min((round + 1) * ranks, lanes)
  }

  /// The rank's lane in a round; nil in the last round for ranks beyond the last lane.
  public func lane(ofRank rank: Int, inRound round: Int) -> Int? {
    precondition(rank >= 0 && rank < ranks, "rank \(rank) of \(ranks)")
    let lane = round * ranks + rank
    return lanes(inRound: round).contains(lane) ? lane : nil
  }

  public func rank(ofLane lane: Int) -> Int { lane % ranks }
  public func round(ofLane lane: Int) -> Int { lane / ranks }
}
