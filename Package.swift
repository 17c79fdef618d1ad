// swift-tools-version: 6.2
import PackageDescription

/// Every Swift target is built with the same settings: language mode 6, memory safety checked at every unsafe
/// expression, imports that name what they use. No unsafe flags: kernels choose instruction sets per function.
let house: [SwiftSetting] = [
  .strictMemorySafety(),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableExperimentalFeature("Lifetimes"),
]

/// One target of a stratum: imports go down only (`Tests/ArchitectureTests` holds the package to it).
func stratum(_ name: String, on dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: house)
}

func tests(_ name: String, of dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name, dependencies: dependencies + ["TestSupport"], swiftSettings: house)
}

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

let package = Package(
  name: "mfqat",
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
  ],
  targets: [
    // 0  C: system libraries, the MPI shim, the kernels, the library that the bench compares with.
    .systemLibrary(name: "COpenMPI", pkgConfig: "ompi-c", providers: [.apt(["libopenmpi-dev"])]),
    .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .systemLibrary(name: "CXXHash", pkgConfig: "libxxhash", providers: [.apt(["libxxhash-dev"])]),
    .systemLibrary(name: "CPCRE2", pkgConfig: "libpcre2-8", providers: [.apt(["libpcre2-dev"])]),
    .target(name: "CMPIShims", dependencies: ["COpenMPI"]),
    .target(name: "CKernels"),
    .target(name: "CBenchDNN"),

    // 1-3  Numbers, memory, arithmetic.
    stratum("Formats", on: []),
    stratum("Tensors", on: ["Formats"]),
    stratum("Kernels", on: ["Formats", "Tensors", "CKernels", "COpenBLAS"]),

    // 4  What moves, is stored, is read.
    stratum("Quantization", on: ["Formats", "Tensors"]),
    stratum("Communication", on: ["Tensors", "Kernels", "CKernels", "CMPIShims", "CXXHash", "CZstd"]),
    stratum("Checkpoints", on: ["Formats", "Tensors", "CZstd", "CXXHash"]),
    stratum("Text", on: ["Tensors", "CPCRE2", "CXXHash"]),

    // 5  The model, and what a run is asked to do.
    stratum("Transformer", on: ["Formats", "Tensors", "Kernels", "Quantization", "Checkpoints"]),
    stratum("Settings", on: ["Formats", "Tensors", "Quantization", yams]),

    // 6  Procedures.
    stratum(
      "Training",
      on: [
        "Formats", "Tensors", "Kernels", "Quantization", "Communication", "Checkpoints", "Text", "Transformer",
        "Settings",
      ]),
    stratum(
      "Calibration",
      on: [
        "Formats", "Tensors", "Kernels", "Quantization", "Communication", "Checkpoints", "Text", "Transformer",
      ]),
    stratum("Conversion", on: ["Formats", "Tensors", "Kernels", "Quantization", "Checkpoints", "Transformer"]),
    stratum("Evaluation", on: ["Formats", "Tensors", "Kernels", "Quantization", "Checkpoints", "Text", "Transformer"]),
    stratum("Reports", on: ["Checkpoints"]),

    // 7  Commands.
    .executableTarget(
      name: "mfqat",
      dependencies: [
        "Formats", "Tensors", "Kernels", "Quantization", "Communication", "Checkpoints", "Text", "Transformer",
        "Settings", "Training", "Calibration", "Conversion", "Evaluation", "Reports", argumentParser,
      ],
      swiftSettings: house),
    .executableTarget(
      name: "mfqat-bench",
      dependencies: [
        "CBenchDNN", "CKernels", "Formats", "Tensors", "Kernels", "Quantization", "Communication", "Checkpoints", "Text", "Transformer",
        "Settings", "Training", "Calibration", argumentParser,
      ],
      swiftSettings: house),

    // Tests.
    .target(name: "CTestHooks", path: "Tests/CTestHooks"),
    .target(name: "TestSupport", dependencies: ["Tensors", "CTestHooks"], path: "Tests/TestSupport", swiftSettings: house),
    .target(name: "FuzzTargets", dependencies: ["Checkpoints", "Text"], path: "Tests/FuzzTargets", swiftSettings: house),
    tests("FormatsTests", of: ["Formats", "Tensors"]),
    tests("TensorsTests", of: ["Tensors"]),
    tests("KernelsTests", of: ["Kernels", "Formats", "Tensors", "CKernels"]),
    tests("QuantizationTests", of: ["Quantization", "Kernels", "Formats", "Tensors"]),
    tests("CommunicationTests", of: ["Communication", "Kernels", "Formats", "Tensors", "CMPIShims"]),
    tests("CheckpointsTests", of: ["Checkpoints", "Formats", "Tensors", "FuzzTargets"]),
    tests("TextTests", of: ["Text", "Tensors", "FuzzTargets"]),
    tests("TransformerTests", of: ["Transformer", "Kernels", "Checkpoints", "Formats", "Quantization", "Tensors"]),
    tests("SettingsTests", of: ["Settings", "Formats", "Quantization"]),
    tests(
      "TrainingTests",
      of: [
        "Training", "Calibration", "Transformer", "Settings", "Communication", "Checkpoints", "Text", "Quantization",
        "Formats", "Kernels", "Tensors",
      ]),
    tests(
      "CalibrationTests",
      of: [
        "Calibration", "Evaluation", "Transformer", "Communication", "Checkpoints", "Text", "Quantization", "Formats",
        "Kernels", "Tensors",
      ]),
    tests(
      "ConversionTests", of: ["Conversion", "Transformer", "Quantization", "Checkpoints", "Formats", "Kernels", "Tensors"]),
    tests("EvaluationTests", of: ["Evaluation", "Transformer", "Text", "Checkpoints", "Formats", "Kernels", "Tensors"]),
    tests("ReportsTests", of: ["Reports", "Checkpoints"]),
    .testTarget(
      name: "CommandLineTests", dependencies: ["TestSupport", "Checkpoints"], exclude: ["Snapshots"], swiftSettings: house),
    tests("ArchitectureTests", of: []),
  ],
  swiftLanguageModes: [.v6]
)

// libFuzzer brings `main`, so the fuzzers link in a build of their own only: launch/fuzz asks for them.
if Context.environment["MFQAT_FUZZ"] != nil {
  package.targets.append(
    .executableTarget(name: "mfqat-fuzz", dependencies: ["FuzzTargets", "TestSupport"], swiftSettings: house))
}
