import Foundation
import Testing

/// `launch/cluster`, with names and a network of its own beside a cluster that may be up.
@Suite(.timeLimit(.minutes(2)), .serialized, .enabled(if: Nodes.absence == nil, "\(Nodes.absence ?? "")"))
struct ClusterTests {
  let scratch: Scratch
  let environment: [String: String]

  init() throws {
    scratch = try Scratch()
    environment = Nodes.names.merging(["MFQAT_CLUSTER_DIR": scratch("cluster")]) { $1 }
  }

  private func cluster(_ arguments: String...) throws -> CommandLineTool.Result {
    try Script.run("cluster", arguments, environment: environment)
  }

  /// Network devices, namespaces and the state folder that carry our name.
  private func traces() throws -> [String] {
    let devices = try CommandLineTool.run(program: "/bin/bash", ["-c", "ip -o link show; ip netns list"]).output
    let found = devices.split(separator: "\n").filter { $0.contains("mfqtest") }.map(String.init)
    return found + (FileManager.default.fileExists(atPath: scratch("cluster")) ? ["cluster"] : [])
  }

  @Test func twoNodesRunRanksAndLeaveNothing() throws {
    #expect(try cluster("run", "hostname").status == 66, "no cluster is up")
    defer { _ = try? cluster("down") }
    let up = try cluster("up", "2", "1", "--rate", "1gbit")
    #expect(up.status == 0, "\(up)")
    #expect(try cluster("up", "2").status == 73, "one is up")

    let hosts = try cluster("run", "hostname")
    #expect(hosts.status == 0, "\(hosts)")
    #expect(hosts.output.split(separator: "\n").sorted() == ["mfqtest-n1", "mfqtest-n2"], "\(hosts)")
    let failing = try cluster("run", "-np", "1", "/bin/sh", "-c", "exit 75")
    #expect(failing.status == 75, "\(failing)")

    #expect(try cluster("rate", "100mbit").status == 0)
    #expect(try cluster("rate", "fast").status == 64)
    #expect(try cluster("link", "2", "down").status == 0)
    let state = try cluster("status").output.split(separator: "\n")
    #expect(state == [
      "mfqtest-n1  slots=1  link up  rate 100Mbit  processes 0",
      "mfqtest-n2  slots=1  link down  rate 100Mbit  processes 0",
    ])
    #expect(try cluster("down").status == 0)
    #expect(try traces() == [])
    #expect(try cluster("down").status == 0, "again does nothing")
  }

  @Test func nothingOutlivesARunThatIsKilled() throws {
    defer { _ = try? cluster("down") }
    #expect(try cluster("up", "2", "1").status == 0)
    let errors = try scratch.file("errors")
    let process = Script.process(
      "cluster", ["run", "/bin/sh", "-c", "echo >\(scratch("started")); exec sleep 77"], environment: environment)
    process.standardOutput = errors
    process.standardError = errors
    try process.run()
    while !FileManager.default.fileExists(atPath: scratch("started")) && process.isRunning { usleep(20_000) }
    #expect(try cluster("run", "hostname").status == 73, "one job at a time")
    kill(process.processIdentifier, SIGKILL)
    let swept = try cluster("kill")
    // Only now: Foundation takes a process for alive as long as its children are.
    process.waitUntilExit()
    #expect(swept.status == 0 && swept.errors.contains("left on the nodes"), "\(swept)")
    let state = try cluster("status").output
    #expect(state.components(separatedBy: "processes 0").count == 3, "\(state)")
    // The nodes are as good as before.
    #expect(try cluster("run", "true").status == 0)
    #expect(try cluster("down").status == 0)
    #expect(try traces() == [])
  }
}

/// Whether this machine can make nodes.
enum Nodes {
  static let names = ["MFQAT_CLUSTER_NAME": "mfqtest", "MFQAT_CLUSTER_NET": "10.78.213"]

  /// Why not; nil if it can.
  static let absence: String? = {
    do {
      let result = try Script.run("cluster", ["probe"], environment: names)
      if result.status == 0 { return isOnPath("mpirun") ? nil : "mpirun is missing" }
      return result.errors.trimmingCharacters(in: .whitespacesAndNewlines)
    } catch { return "launch/cluster does not start: \(error)" }
  }()

  private static func isOnPath(_ program: String) -> Bool {
    (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").contains {
      FileManager.default.isExecutableFile(atPath: $0 + "/" + program)
    }
  }
}
