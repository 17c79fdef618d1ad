import CKernels
public import Formats
public import Tensors

/// How fp32 vectors become the codes of an operand.
public struct Quantizer: Sendable {
  public enum Scale: Sendable {
    /// absmax / 127 of each vector.
    case vector
    /// The same for all vectors: largest magnitude / 127.
    case tensor(largest: Float)
    /// Blocks of 32 in a byte-carried MX format.
    case blocks(MXFormat)
    case bf16
  }

  public enum Rounding: Sendable {
    case nearest
    /// To one of the two neighbours by chance, unbiased. Element i of the matrix draws number `first` + i of `random`.
    /// `shrink` 3/4 keeps FP4 from saturating.
    case stochastic(CounterRandom, first: Int, shrink: Float)
  }

  public var scale: Scale
  public var rounding = Rounding.nearest

  public init(_ scale: Scale, rounding: Rounding = .nearest) {
    self.scale = scale
    self.rounding = rounding
  }

  public var elements: Operand.Elements {
    switch scale {
    case .vector, .tensor: .int8
    case .blocks: .blocks
    case .bf16: .bf16
    }
  }

  @unsafe fileprivate func raw(_ rotation: ck_rotation) -> ck_quantizer {
    var (scaling, maximum, element) = (CK_SCALE_VECTOR, Float(0), ck_element())
    switch scale {
    case .vector: break
    case .tensor(let largest): maximum = largest
    case .blocks(let format):
      precondition(format.element.isByteCarried, "\(format) is not carried by bytes")
      scaling = CK_SCALE_BLOCK
      element = format.element.ckElement
    case .bf16: preconditionFailure("bf16 has no codes")
    }
    var (mode, key, firstElement, shrinkage) = (CK_NEAREST, (UInt32(0), UInt32(0)), UInt64(0), Float(1))
    if case .stochastic(let random, let first, let shrink) = rounding {
      (mode, key, firstElement) = (CK_STOCHASTIC, random.key, UInt64(first))
      if scaling == CK_SCALE_BLOCK { shrinkage = shrink }
    }
    return unsafe ck_quantizer(
      rotation: rotation, scaling: Int32(scaling.rawValue), rounding: Int32(mode.rawValue), element: element,
      maximum: maximum, shrink: shrinkage, key: key, first_element: firstElement)
  }
}

extension Operand {
  /// Which axis of a row-major matrix is contracted.
  public enum Contraction: Sendable {
    /// Vectors are the rows.
    case columns
    /// Vectors are the columns.
    case rows
  }

  /// Packs `x`, rotated along the contracted axis and quantized. Contract: bit-exact in every table, for any number of
  /// threads.
  public func pack(
    _ x: borrowing Tensor, contracting: Contraction, by quantizer: Quantizer, rotation: BlockRotation? = nil,
    on table: KernelTable = .current
  ) {
    guard let rotation else {
      return unsafe pack(x, contracting, quantizer, ck_rotation(block: 0, signs: nil), table)
    }
    let length = contracting == .columns ? x.columns : x.rows
    precondition(rotation.signs.count >= length, "signs for \(rotation.signs.count) of \(length) positions")
    unsafe pack(x, contracting, quantizer, rotation.raw(), table)
  }

  private func pack(
    _ x: borrowing Tensor, _ contracting: Contraction, _ quantizer: Quantizer, _ rotation: ck_rotation,
    _ table: KernelTable
  ) {
    let vectors = contracting == .columns ? x.rows : x.columns
    let depth = contracting == .columns ? x.columns : x.rows
    unsafe begin(quantizer.elements, vectors: vectors, depth: depth, multiple: Int(rotation.block))
    let kernels = table.panels, stride = Int64(x.columns), side = side == .left ? CK_LEFT : CK_RIGHT
    let address = unsafe x.unsafeAddress()
    if elements == .bf16 {
      precondition(unsafe rotation.block == 0, "bf16 operands are not rotated")
      WorkSplit.overPanels(vectors) { first, count in
        let out = unsafe self.raw(fromPanel: first / WorkSplit.panel)
        switch contracting {
        case .columns:
          unsafe kernels.round_rows_bf16(Int64(count), Int64(depth), address + first * x.columns, stride, out.codes)
        case .rows: unsafe kernels.round_columns_bf16(Int64(count), Int64(depth), address + first, stride, out.codes)
        }
      }
      return
    }
    let raw = unsafe quantizer.raw(rotation)
    WorkSplit.overPanels(vectors) { first, count in
      var quantizer = unsafe raw
      var out = unsafe self.raw(fromPanel: first / WorkSplit.panel)
      switch contracting {
      case .columns:
        unsafe quantizer.first_element += UInt64(first * x.columns)
        unsafe kernels.quantize_rows(
          &quantizer, side, Int64(count), Int64(depth), address + first * x.columns, stride, &out)
      case .rows:
        unsafe quantizer.first_element += UInt64(first)
        unsafe kernels.quantize_columns(&quantizer, side, Int64(count), Int64(depth), address + first, stride, &out)
      }
    }
    measureScales()
  }

  /// Packs codes of an MX format that exist already: rows x columns bytes and rows x blocks E8M0 scale bytes, contracted
  /// along the columns.
  @unsafe package func pack(
    rows: Int, columns: Int, codes: UnsafePointer<UInt8>, scales bytes: UnsafePointer<UInt8>, format: MXFormat,
    carriers: borrowing HostBuffer<Int8>, on table: KernelTable = .current
  ) {
    precondition(carriers.count == 256, "\(carriers.count) carriers")
    begin(.blocks, vectors: rows, depth: columns, multiple: 0)
    let kernels = table.matmul, side = side == .left ? CK_LEFT : CK_RIGHT
    let blocks = PackedTensor.blockCount(columns), shift = Int32(format.element.integerShift)
    let table = unsafe carriers.unsafeAddress()
    WorkSplit.overPanels(rows) { first, count in
      var out = unsafe self.raw(fromPanel: first / WorkSplit.panel)
      unsafe kernels.pack_rows(side, Int64(count), Int64(columns), codes + first * columns, Int64(columns), table, &out)
      unsafe kernels.pack_scales(Int64(count), Int64(blocks), bytes + first * blocks, shift, out.scales)
    }
    measureScales()
  }
}
