package import CKernels

#if canImport(Glibc)
  import Glibc
#endif

/// The kernels in use: one table for the whole process, chosen at first use and never changed.
///
/// `MFQAT_KERNELS=scalar|avx2|avx512|avx512_vnni|avx512_bf16` forces one; a table that this processor cannot run is refused by name.
@safe public struct KernelTable: @unchecked Sendable {
  package let raw: UnsafePointer<ck_table>

  public var name: String { unsafe String(cString: raw.pointee.name) }
  package var codec: ck_codec_table { unsafe raw.pointee.codec.pointee }
  package var operations: ck_operation_table { unsafe raw.pointee.operations.pointee }
  package var panels: ck_panel_table { unsafe raw.pointee.panels.pointee }
  package var matmul: ck_matmul_table { unsafe raw.pointee.matmul.pointee }
  package var wire: ck_wire_table { unsafe raw.pointee.wire.pointee }
  package var solver: ck_solver_table { unsafe raw.pointee.solver.pointee }

  /// Every table this processor can run, best first; the scalar reference is last.
  public static var available: [KernelTable] {
    (0..<ck_table_count()).map { index in unsafe KernelTable(raw: ck_table_at(index)!) }
  }

  public static let current: KernelTable = {
    guard let wanted = unsafe getenv("MFQAT_KERNELS") else { return available[0] }
    let name = unsafe String(cString: wanted)
    guard let table = available.first(where: { $0.name == name }) else {
      fatalError("MFQAT_KERNELS=\(name): this processor runs \(available.map(\.name).joined(separator: ", "))")
    }
    return table
  }()
}
