import Foundation
import Settings

/// The least that is valid, with a line for everything: line 1 `model`, 3 `data`, 5 `training`.
let minimalYAML = """
  model:
    path: model/
  data:
    train: [train.txt]
  training:
    steps: 100

  """

/// Problems of a configuration, none when it is fine.
func problems(_ yaml: String, _ overrides: String...) -> [SettingsProblem] {
  do {
    _ = try RunConfiguration(yaml: yaml, file: "run.yaml", overrides: overrides)
    return []
  } catch { return error.problems }
}

/// Problems of the minimal configuration with overrides.
func problems(with overrides: String...) -> [SettingsProblem] {
  do {
    _ = try RunConfiguration(yaml: minimalYAML, file: "run.yaml", overrides: overrides)
    return []
  } catch { return error.problems }
}

func configuration(with overrides: String...) throws -> RunConfiguration {
  try RunConfiguration(yaml: minimalYAML, file: "run.yaml", overrides: overrides)
}

let configsFolder = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("configs")
