public import Tensors

/// Safe faces over buffers and tensors. Sizes are checked here, before anything is sent.
extension Communicator {
  /// The root's elements to every rank; the buffer has the same size on all.
  public func broadcast<Element>(
    _ buffer: inout HostBuffer<Element>, from root: Int = 0, as kind: Traffic = .control
  ) throws(CommunicationError) {
    let count = buffer.count * MemoryLayout<Element>.stride
    unsafe try broadcast(kind, buffer.unsafeMutableAddress(), count: count, from: root)
  }

  public func broadcast(
    _ tensor: inout Tensor, from root: Int = 0, as kind: Traffic = .weights
  ) throws(CommunicationError) {
    let count = tensor.count * MemoryLayout<Float>.stride
    unsafe try broadcast(kind, tensor.unsafeMutableAddress(), count: count, from: root)
  }

  /// The root's value on every rank.
  public func broadcast(_ value: Int64, from root: Int = 0) throws(CommunicationError) -> Int64 {
    integer[0] = value
    try broadcast(&integer, from: root)
    return integer[0]
  }

  /// The root's bytes, of any length, on every rank; what other ranks pass is ignored. Allocates.
  public func broadcast(_ bytes: [UInt8], from root: Int = 0) throws(CommunicationError) -> [UInt8] {
    let count = Int(try broadcast(Int64(bytes.count), from: root))
    let arena = Arena("broadcast")
    var buffer = HostBuffer<UInt8>(count: count, in: arena)
    if rank == root { for index in 0..<count { buffer[index] = bytes[index] } }
    try broadcast(&buffer, from: root)
    return buffer.array(count)
  }

  /// Every rank's elements one after another: `counts[r]` from rank r.
  public func allGather<Element>(
    _ own: borrowing HostBuffer<Element>, into all: inout HostBuffer<Element>, counts: borrowing HostBuffer<Int64>,
    as kind: Traffic = .control
  ) throws(CommunicationError) {
    let stride = Int64(MemoryLayout<Element>.stride)
    let total = scale(counts, by: stride, into: &byteCounts)
    precondition(Int(counts[rank]) <= own.count && total <= all.count,
      "all-gather of \(counts[rank]) of \(own.count) elements into \(all.count) elements, \(total) arrive")
    unsafe try allGather(
      kind, own: own.unsafeAddress(), into: all.unsafeMutableAddress(),
      counts: byteCounts.unsafeAddress())
  }

  /// The same where every rank's elements lie in their place of `all` already.
  public func allGather<Element>(
    inPlace all: inout HostBuffer<Element>, counts: borrowing HostBuffer<Int64>, as kind: Traffic = .control
  ) throws(CommunicationError) {
    let total = scale(counts, by: Int64(MemoryLayout<Element>.stride), into: &byteCounts)
    precondition(total == all.count, "all-gather of \(total) elements in \(all.count)")
    unsafe try allGather(kind, own: nil, into: all.unsafeMutableAddress(), counts: byteCounts.unsafeAddress())
  }

  public func allGather(
    inPlace all: inout Tensor, counts: borrowing HostBuffer<Int64>, as kind: Traffic = .weights
  ) throws(CommunicationError) {
    let total = scale(counts, by: Int64(MemoryLayout<Float>.stride), into: &byteCounts)
    precondition(total == all.count, "all-gather of \(total) elements in \(all.count)")
    unsafe try allGather(kind, own: nil, into: all.unsafeMutableAddress(), counts: byteCounts.unsafeAddress())
  }

  /// Element counts to byte counts; returns the sum of the former.
  private func scale(
    _ counts: borrowing HostBuffer<Int64>, by stride: Int64, into bytes: inout HostBuffer<Int64>
  ) -> Int {
    precondition(counts.count == size, "\(counts.count) counts for \(size) ranks")
    var total = 0
    for rank in 0..<size {
      precondition(counts[rank] >= 0, "rank \(rank): \(counts[rank]) elements")
      bytes[rank] = counts[rank] * stride
      total += Int(counts[rank])
    }
    return total
  }

  // MARK: Reductions whose result does not depend on an order

  /// Slot by slot, the sum over ranks of values of which at most one is not zero: exact whatever order MPI adds in,
  /// because x + 0 is x. (The one exception: -0 becomes +0.) For slots that several ranks fill, use integers or
  /// `OrderedSum`.
  public func sumDisjoint(_ slots: inout HostBuffer<Double>, as kind: Traffic = .control) throws(CommunicationError) {
    unsafe try reduce(kind, slots.unsafeMutableAddress(), count: slots.count, by: .sumDouble)
  }

  /// Slot by slot, exact as long as no sum leaves Int64.
  public func sum(_ values: inout HostBuffer<Int64>) throws(CommunicationError) {
    unsafe try reduce(.control, values.unsafeMutableAddress(), count: values.count, by: .sumInt64)
  }

  /// Slot by slot, the largest of all ranks. Of doubles that are not negative, the bits order as the numbers do.
  public func maximum(_ values: inout HostBuffer<Int64>) throws(CommunicationError) {
    unsafe try reduce(.control, values.unsafeMutableAddress(), count: values.count, by: .maximumInt64)
  }

  public func sum(_ value: Int64) throws(CommunicationError) -> Int64 { try reduced(value, by: .sumInt64) }
  public func maximum(_ value: Int64) throws(CommunicationError) -> Int64 { try reduced(value, by: .maximumInt64) }
  public func minimum(_ value: Int64) throws(CommunicationError) -> Int64 { try reduced(value, by: .minimumInt64) }

  /// True on every rank if `flag` is true on any: how ranks decide alike to skip a step, to stop, to save.
  public func agree(on flag: Bool) throws(CommunicationError) -> Bool { try maximum(flag ? 1 : 0) != 0 }

  private func reduced(_ value: Int64, by reduction: Reduction) throws(CommunicationError) -> Int64 {
    integer[0] = value
    unsafe try reduce(.control, integer.unsafeMutableAddress(), count: 1, by: reduction)
    return integer[0]
  }
}

extension HostBuffer where Element == UInt8 {
  /// The first `count` bytes as an array.
  borrowing func array(_ count: Int) -> [UInt8] {
    unsafe Array(UnsafeBufferPointer(start: unsafeAddress(), count: count))
  }
}
