import Tensors

/// Control messages: what ranks must hold in common, and what they have to say.
extension Communicator {
  /// Throws, on every rank alike, unless all ranks pass the same bytes; the error names the ranks that differ from the
  /// majority (from the lower rank's value where there is none).
  ///
  /// - Parameter what: the thing compared, in the error: `configuration`, `replica of layer 3`.
  public func requireEqual(_ bytes: [UInt8], what: String) throws(CommunicationError) {
    try requireEqual(ContentDigest(of: bytes), what: what)
  }

  /// The same for a digest taken elsewhere. Allocates nothing unless it throws.
  public func requireEqual(_ digest: ContentDigest, what: String) throws(CommunicationError) {
    let base = rank * ContentDigest.wordCount
    digests[base] = digest.first
    digests[base + 1] = digest.second
    digests[base + 2] = digest.length
    unsafe try allGather(
      .control, own: nil, into: digests.unsafeMutableAddress(), counts: digestCounts.unsafeAddress())
    if (0..<size).allSatisfy({ gathered($0) == digest }) { return }

    var holders: [ContentDigest: Int] = [:]
    for rank in 0..<size { holders[gathered(rank), default: 0] += 1 }
    let most = holders.values.max()!
    let common = (0..<size).lazy.map { self.gathered($0) }.first { holders[$0] == most }!
    let different = (0..<size).filter { gathered($0) != common }
    throw CommunicationError(call: "requireEqual(\(what))", rank: rank, size: size,
      found: "\(what) differs on rank\(different.count == 1 ? "" : "s") "
        + different.map(String.init).joined(separator: ", ")
        + " (\(different.map { "\(gathered($0).length)" }.joined(separator: ", ")) bytes; \(common.length) on the others)",
      hint: "All ranks must see the same \(what)")
  }

  private func gathered(_ rank: Int) -> ContentDigest {
    let base = rank * ContentDigest.wordCount
    return ContentDigest(first: digests[base], second: digests[base + 1], length: digests[base + 2])
  }

  /// Every rank's text, in rank order, on the root; an empty array elsewhere. For error texts and manifests: allocates.
  public func gatherStrings(_ text: String) throws(CommunicationError) -> [String] {
    let utf8 = Array(text.utf8)
    let arena = Arena("gather strings")
    var lengths = HostBuffer<Int64>(count: size, in: arena)
    lengths[rank] = Int64(utf8.count)
    try sum(&lengths)

    var total = 0
    if isRoot { for rank in 0..<size { total += Int(lengths[rank]) } }
    var own = HostBuffer<UInt8>(count: utf8.count, in: arena)
    for (index, byte) in utf8.enumerated() { own[index] = byte }
    var all = HostBuffer<UInt8>(count: total, in: arena)
    unsafe try gather(.control, own: own.unsafeAddress(), count: utf8.count, all: all.unsafeMutableAddress(),
      counts: lengths.unsafeAddress(), root: 0)
    guard isRoot else { return [] }

    let bytes = all.array(total)
    var start = 0
    return (0..<size).map { rank in
      defer { start += Int(lengths[rank]) }
      return String(decoding: bytes[start..<start + Int(lengths[rank])], as: UTF8.self)
    }
  }
}
