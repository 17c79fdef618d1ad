/// A uniquely owned run of plain values (token ids, losses, bytes) in arena memory.
@safe public struct HostBuffer<Element: BitwiseCopyable>: ~Copyable {
  public let count: Int
  fileprivate let base: UnsafeMutablePointer<Element>
  fileprivate let arena: Arena

  /// A zeroed buffer.
  public init(count: Int, in arena: Arena) {
    precondition(count >= 0, "buffer of \(count) elements")
    self.count = count
    self.arena = arena
    unsafe base = arena.lease(byteCount: count * MemoryLayout<Element>.stride)
      .bindMemory(to: Element.self, capacity: count)
  }

  private init(count: Int, base: UnsafeMutablePointer<Element>, arena: Arena) {
    self.count = count
    unsafe self.base = base
    self.arena = arena
  }

  /// Elements `range` of the same memory under a second name.
  public borrowing func region(_ range: Range<Int>) -> HostBuffer<Element> {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "elements \(range) of \(count)")
    return unsafe HostBuffer(count: range.count, base: base + range.lowerBound, arena: arena)
  }

  @inlinable
  public subscript(index: Int) -> Element {
    get {
      precondition(index >= 0 && index < count, "index \(index) of \(count)")
      return unsafe unsafeAddress()[index]
    }
    set {
      precondition(index >= 0 && index < count, "index \(index) of \(count)")
      unsafe unsafeMutableAddress()[index] = newValue
    }
  }

  public mutating func copy(from other: borrowing HostBuffer<Element>) {
    precondition(other.count == count, "copy of \(other.count) elements into \(count)")
    unsafe base.update(from: other.base, count: count)
  }

  public var span: Span<Element> {
    @_lifetime(borrow self)
    borrowing get {
      let span = unsafe Span(_unsafeStart: base, count: count)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }

  public var mutableSpan: MutableSpan<Element> {
    @_lifetime(&self)
    mutating get {
      let span = unsafe MutableSpan(_unsafeStart: base, count: count)
      return unsafe _overrideLifetime(span, mutating: &self)
    }
  }

  /// For kernel and communication faces: valid while the arena lives.
  public borrowing func unsafeAddress() -> UnsafePointer<Element> { unsafe UnsafePointer(base) }
  public mutating func unsafeMutableAddress() -> UnsafeMutablePointer<Element> { unsafe base }
}

extension HostBuffer where Element == UInt8 {
  /// Bytes from `offset` on, a multiple of 4, as a row of `count` floats: the same memory under a second name.
  package borrowing func floats(from offset: Int, count: Int) -> Tensor {
    precondition(offset >= 0 && offset % 4 == 0 && count >= 0 && offset + 4 * count <= self.count,
      "\(count) floats at byte \(offset) of \(self.count)")
    return unsafe Tensor(
      rows: 1, columns: count,
      base: UnsafeMutableRawPointer(mutating: UnsafeRawPointer(base) + offset).assumingMemoryBound(to: Float.self),
      arena: arena)
  }
}
