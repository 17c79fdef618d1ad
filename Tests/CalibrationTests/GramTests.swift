import Calibration
import Tensors
import Testing

@Suite struct GramTests {
  @Test func theIdentityHasUnitEnergyEverywhere() {
    let gram = Gram.identity(columns: 5, in: Arena("gram"))
    #expect((0..<5).allSatisfy { gram.energy($0) == 1 })
    #expect((0..<25).filter { gram.values[$0] != 0 }.count == 5)
  }
}
