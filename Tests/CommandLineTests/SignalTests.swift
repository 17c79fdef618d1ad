import Foundation
import Testing

@Suite(.timeLimit(.minutes(2))) struct SignalTests {
  let scratch: Scratch

  init() throws {
    scratch = try Scratch()
    try TinyModel.write(to: scratch("model"))
  }

  @Test func aReaderThatLeavesEndsTheProgramQuietly() throws {
    let result = try CommandLineTool.run(
      program: "/bin/bash",
      ["-c", #""$0" generate "$1" --prompt 'once upon' --max-tokens 50 | head -c 5; echo " ${PIPESTATUS[0]}""#,
       CommandLineTool.path, scratch("model")])
    // The whole text may have fitted into the pipe before the reader left.
    #expect(["once  141\n", "once  0\n"].contains(result.output) && result.errors.isEmpty, "\(result)")
  }

  @Test func aReaderThatIsGoneFromTheStart() throws {
    let pipe = Pipe(), errors = try scratch.file("errors")
    try pipe.fileHandleForReading.close()
    let process = CommandLineTool.process(CommandLineTool.path, ["inspect", scratch("model")])
    process.standardOutput = pipe
    process.standardError = errors
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationReason == .uncaughtSignal && process.terminationStatus == SIGPIPE)
    #expect(try scratch.text("errors").isEmpty)
  }

  @Test func ctrlCEndsWithItsStatusAndWithoutAWord() throws {
    // The command waits in the middle of its work for a text that never comes.
    let fifo = scratch("text")
    #expect(unsafe mkfifo(fifo, 0o600) == 0)
    let output = try scratch.file("output"), errors = try scratch.file("errors")
    let process = CommandLineTool.process(
      CommandLineTool.path, ["prepare", "--model", scratch("model"), "--text", fifo, "--out", scratch("t.bin")])
    process.standardOutput = output
    process.standardError = errors
    try process.run()
    // Opening returns when the command has opened its end.
    let writer = try #require(FileHandle(forWritingAtPath: fifo))
    process.interrupt()
    process.waitUntilExit()
    try writer.close()
    #expect(process.terminationReason == .exit && process.terminationStatus == 128 + SIGINT)
    #expect(try scratch.text("output").isEmpty && scratch.text("errors").isEmpty)
    #expect(!FileManager.default.fileExists(atPath: scratch("t.bin")))
  }
}
