/// Names of the tensors in a training checkpoint. All are matrices of fp32; a vector of n is n x 1.
public enum CheckpointTensors {
  /// fp32 weights, and AdamW's two moments of them.
  public static func master(_ parameter: String) -> String { "master/" + parameter }
  public static func firstMoment(_ parameter: String) -> String { "moment1/" + parameter }
  public static func secondMoment(_ parameter: String) -> String { "moment2/" + parameter }
  /// In the middle of a step: the sum of gradients so far.
  public static func gradient(_ parameter: String) -> String { "gradient/" + parameter }
  /// What every rank holds of weights that travel as differences.
  public static func replica(_ parameter: String) -> String { "replica/" + parameter }
  /// What the rounding of gradients has lost on one rank.
  public static func feedback(_ buffer: String, rank: Int) -> String { "feedback/\(rank)/" + buffer }
}
