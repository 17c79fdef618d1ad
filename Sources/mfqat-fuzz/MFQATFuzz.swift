// The entry points that libFuzzer calls; it brings `main`. Built by launch/fuzz only, see Package.swift.
//
//   MFQAT_FUZZ_TARGET=tokenizer mfqat-fuzz [libFuzzer's options] CORPUS_FOLDER…
//   mfqat-fuzz corpus FOLDER            writes the seeds of all targets and the files that stand beside them

import FuzzTargets
import Glibc
import TestSupport

/// Bytes that a reader may take at once for an input of a few kilobytes.
private let allocationLimit = 64 << 20

private let target: FuzzTarget = {
  let name = unsafe getenv("MFQAT_FUZZ_TARGET").map { unsafe String(cString: $0) } ?? ""
  guard let target = FuzzTarget(rawValue: name) else {
    let names = FuzzTarget.allCases.map(\.rawValue).joined(separator: ", ")
    fatalError("MFQAT_FUZZ_TARGET is \"\(name)\" and not one of \(names)")
  }
  return target
}()

@_cdecl("LLVMFuzzerInitialize")
public func initialize(_ argumentCount: UnsafeMutablePointer<CInt>, _ arguments: UnsafeMutableRawPointer) -> CInt {
  let arguments = CommandLine.arguments
  if arguments.count == 3, arguments[1] == "corpus" {
    do { try FuzzCorpus.write(to: arguments[2]) } catch { fatalError("\(error)") }
    exit(0)
  }
  _ = target
  return 0
}

@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  let largest = AllocationCounter.largest {
    do { try target.run(input) } catch { fatalError("\(target.rawValue): \(error)") }
  }
  // Traps, so that libFuzzer keeps the input.
  precondition(largest <= allocationLimit, "\(target.rawValue): \(largest) bytes at once for \(count) bytes of input")
  return 0
}
