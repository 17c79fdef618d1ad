#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// How this process was started, as its environment tells.
public enum Launch: Sendable, Hashable {
  /// By hand: one rank, MPI is not touched.
  case alone
  /// By `mpirun`, `srun --mpi=pmix` or another launcher that speaks PMI; `ranks` where the launcher says how many.
  case byLauncher(variable: String, ranks: Int?)
  /// By `srun` without a process manager interface: every task would believe to be alone.
  case bySlurmWithoutPMI(tasks: Int)

  /// Reads the variables that launchers set: Open MPI's own, PMIx (Open MPI 5, Slurm), PMI-1 and PMI-2.
  public init(environment: (String) -> String?) {
    for name in ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_ID"] {
      guard let value = environment(name) else { continue }
      let ranks = name == "OMPI_COMM_WORLD_SIZE" ? Int(value) : environment("PMI_SIZE").flatMap { Int($0) }
      self = .byLauncher(variable: name, ranks: ranks)
      return
    }
    if let tasks = environment("SLURM_STEP_NUM_TASKS").flatMap({ Int($0) }), tasks > 1 {
      self = .bySlurmWithoutPMI(tasks: tasks)
      return
    }
    self = .alone
  }

  public static var current: Launch {
    Launch { name in unsafe getenv(name).map { unsafe String(cString: $0) } }
  }
}

extension Communicator {
  /// The ranks of this job: MPI under a launcher, else one rank without touching MPI.
  ///
  /// Call it once, first thing, on the thread that will communicate. Collective.
  public static func world() throws(CommunicationError) -> Communicator {
    switch Launch.current {
    case .alone:
      return solo()
    case .bySlurmWithoutPMI(let tasks):
      throw CommunicationError(call: "Communicator.world", rank: -1, size: 0,
        found: "srun started \(tasks) tasks without a process manager interface, so each would train alone",
        hint: "Use srun --mpi=pmix, or mpirun inside the allocation")
    case .byLauncher(let variable, let ranks):
      let transport = try MPITransport.world()
      if let ranks, ranks != transport.size {
        throw CommunicationError(call: "Communicator.world", rank: transport.rank, size: transport.size,
          found: "the launcher (\(variable)) started \(ranks) ranks, the MPI library sees \(transport.size)",
          hint: "mpirun and the linked library (\(MPITransport.library)) are of different installations")
      }
      let world = Communicator(transport)
      try world.findNodes()
      return world
    }
  }

  /// Name and version of the linked MPI library, without starting it.
  public static var mpiLibrary: String { MPITransport.library }

  /// Prints `reason` with this rank on standard error and ends the whole job; the launcher returns `code`.
  ///
  /// For a rank that cannot go on: its peers may be waiting for it in a collective, where an exception cannot reach
  /// them. (A process that simply exits with a status other than 0 takes its peers along as well.)
  ///
  /// - Parameter code: 1...255.
  public func fail(code: Int, reason: String) -> Never {
    precondition((1...255).contains(code), "exit status \(code) is not in 1...255")
    let line = Array("mfqat: rank \(rank) of \(size): \(reason)\n".utf8)
    unsafe line.withUnsafeBytes { bytes in
      var rest = unsafe bytes
      while rest.count > 0 {  // write(2) has no buffer that could be lost and no lock that could be held
        let written = unsafe write(2, rest.baseAddress, rest.count)
        if written <= 0 { break }
        unsafe rest = UnsafeRawBufferPointer(rebasing: rest[written...])
      }
    }
    transport.abort(code: Int32(code))
  }
}
