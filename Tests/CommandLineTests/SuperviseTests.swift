import Foundation
import Testing

/// `launch/supervise` with a command that plays a list of endings, one an attempt.
@Suite(.timeLimit(.minutes(2))) struct SuperviseTests {
  let scratch: Scratch

  init() throws {
    scratch = try Scratch()
    try FileManager.default.createDirectory(atPath: scratch("run"), withIntermediateDirectories: true)
    try scratch.write(
      #"""
      cd "$(dirname "$0")"
      ending=$(head -n 1 endings); sed -i 1d endings
      case $ending in
        saves-*) # a newer checkpoint, then that status
          attempt=$((${RANDOM} + $(wc -l <endings) * 100000))
          ln -sfn "checkpoints/step-$attempt" run/latest
          exit "${ending#saves-}" ;;
        killed-*) kill "-${ending#killed-}" $$ ;;
        steps-*) echo "{\"step\":$RANDOM}" >>run/metrics.jsonl; exit "${ending#steps-}" ;;
        hangs) # a rank says that it stalled and goes; launcher and a child of another group stay, deaf
          trap '' TERM USR1
          set -m; (trap '' TERM USR1; echo $BASHPID >>left; exec sleep 60) & set +m
          echo "mfqat: watchdog: rank 3 of 6" >run/stalled-rank-003.txt
          echo $$ >>left
          sleep 60 ;;
        touches-*) echo >run/metrics.jsonl.new; exit "${ending#touches-}" ;;
        works) echo started >started; trap 'echo saved; exit 0' USR1; while :; do sleep 0.05; done ;;
        *) exit "$ending" ;;
      esac
      """#, to: "train")
  }

  private func supervise(_ endings: [String], _ options: [String] = [], resume: [String] = ["--resume", "auto"]) throws
    -> CommandLineTool.Result
  {
    try scratch.write(endings.map { $0 + "\n" }.joined(), to: "endings")
    return try Script.run(
      "supervise", ["--run", scratch("run")] + options + ["--", "/bin/bash", scratch("train")] + resume)
  }

  /// Endings that were not played.
  private var left: Int { ((try? scratch.text("endings")) ?? "").split(separator: "\n").count }

  @Test func endsWhereARestartDoesNotHelp() throws {
    for (ending, status) in [("0", 0), ("1", 1), ("2", 2), ("66", 66), ("130", 130), ("killed-TERM", 143)] {
      let result = try supervise([ending, "0"])
      #expect(result.status == status && left == 1, "\(ending): \(result)")
    }
  }

  @Test(arguments: ["75", "137", "139", "205", "killed-KILL", "killed-ABRT"])
  func startsAgainWhereItDoes(_ ending: String) throws {
    let result = try supervise([ending, "0"])
    #expect(result.status == 0 && left == 0, "\(result)")
    #expect(result.errors.contains("supervise: attempt 2, from the beginning\n"), "\(result.errors)")
    #expect(result.errors.hasSuffix("supervise: done after 2 attempts\n"), "\(result.errors)")
  }

  /// A loss that is not finite comes after some steps, and again before the first step of the next attempt.
  @Test func aFailureThatComesAgainEndsIt() throws {
    let result = try supervise(["saves-1", "touches-1", "0"])
    #expect(result.status == 1 && left == 1, "\(result)")
    #expect(result.errors.contains("attempt 2, from checkpoints/step-"), "\(result.errors)")
  }

  /// mpirun ends with the status of a refusal when it cannot reach a node.
  @Test func aLauncherThatCannotStartIsTriedAgain() throws {
    let result = try supervise(["steps-1", "1", "0"])
    #expect(result.status == 0 && left == 0, "\(result)")
  }

  @Test func givesUpWithoutProgressOnly() throws {
    let stuck = try supervise(["75", "137", "0"], ["--max-restarts", "1"])
    #expect(stuck.status == 137 && left == 1, "\(stuck)")
    #expect(stuck.errors.contains("giving up after 1 restarts in a row without a newer checkpoint"), "\(stuck.errors)")
    let slow = try supervise(["saves-75", "saves-137", "saves-205", "saves-75", "0"], ["--max-restarts", "1"])
    #expect(slow.status == 0 && left == 0, "\(slow)")
  }

  @Test func aLauncherThatHangsIsKilledWithItsChildren() throws {
    let result = try supervise(["hangs", "0"], ["--cleanup", "echo cleaning up"])
    #expect(result.status == 0 && left == 0 && result.output == "cleaning up\n", "\(result)")
    #expect(result.errors.contains("(mfqat: watchdog: rank 3 of 6); the launcher has 5 s"), "\(result.errors)")
    let processes = try scratch.text("left").split(separator: "\n").compactMap { pid_t($0) }
    #expect(processes.count == 2)
    for process in processes { #expect(!Self.isAlive(process), "\(process) is still there") }
  }

  @Test func aRunThatShowsNoSignIsKilled() throws {
    let result = try supervise(["works", "0"], ["--stall-seconds", "1"])
    #expect(result.status == 0 && left == 0, "\(result)")
    #expect(result.errors.contains("has changed for 1 s: killing the run"), "\(result.errors)")
  }

  @Test func aUserWhoStopsItIsHeard() throws {
    try scratch.write("works\n0\n", to: "endings")
    let output = try scratch.file("output"), errors = try scratch.file("errors")
    let process = Script.process(
      "supervise", ["--run", scratch("run"), "--", "/bin/bash", scratch("train"), "--resume", "auto"])
    process.standardOutput = output
    process.standardError = errors
    try process.run()
    while (try? scratch.text("started")) != "started\n" { usleep(20_000) }
    usleep(200_000)
    process.terminate()
    process.waitUntilExit()
    #expect(process.terminationReason == .exit && process.terminationStatus == 0 && left == 1)
    #expect(try scratch.text("output") == "saved\n")
    #expect(try scratch.text("errors").contains("ended with status 0 as asked"))
  }

  @Test func refusals() throws {
    let withoutResume = try supervise(["0"], resume: ["--resume", "runs/a/checkpoints/step-000100"])
    #expect(withoutResume.status == 64 && withoutResume.errors.contains("lacks --resume auto") && left == 1)
    #expect(try supervise(["0"], ["--max-restarts", "many"]).status == 64)
    #expect(try supervise(["0"], ["--often"]).status == 64)
    #expect(try Script.run("supervise", []).status == 64)
    #expect(try Script.run("supervise", ["--help"]).output.contains("--max-restarts N"))
  }

  private static func isAlive(_ process: pid_t) -> Bool {
    guard let stat = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8) else { return false }
    return !stat.contains(") Z ")
  }
}
