//! Checks the Helm chart: helm's own check, the schemas of Kubernetes, and the program's check of the configuration.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::download::{self, run};

const CHART: &str = "deploy/helm/taskcenter";
/// Version of Kubernetes that helm and the schemas assume.
const KUBERNETES: &str = "1.30";

/// Values of one installation, as arguments of helm.
const INSTALLATIONS: [(&str, &[&str]); 2] = [
    ("embedded", &[]),
    (
        "cluster",
        &[
            "--set=mode=cluster",
            "--set=antiAffinity=hard",
            "--set=cluster.redisAddr=redis:6379",
            "--set=cluster.rocketmqNamesrv=namesrv:9876",
            "--set=secrets.TASKCENTER__MONGODB__URI=mongodb://user:password@mongo:27017/?replicaSet=rs0",
            "--set=secrets.TASKCENTER__REDIS__PASSWORD=password",
        ],
    ),
];

/// What the manifests of both installations have.
const EXPECTED: [&str; 7] = [
    "kind: NetworkPolicy",
    "path: /livez",
    "path: /readyz",
    "podAntiAffinity:",
    "runAsNonRoot: true",
    "readOnlyRootFilesystem: true",
    "terminationGracePeriodSeconds: 30",
];

/// Checks both modes.
pub fn check(workspace: &Path, program: &Path) -> Result<()> {
    println!("  Helm chart");
    let root = workspace.join("target/services");
    let (helm, schemas) = (download::helm(&root)?, download::kubernetes_schemas(&root)?);
    let dir = workspace.join("target/dist/kubernetes");
    std::fs::create_dir_all(&dir)?;
    for (name, values) in INSTALLATIONS {
        run(Command::new(&helm).arg("lint").arg(workspace.join(CHART)).arg("--strict").args(values))?;
        let manifests = render(&helm, workspace, values)?;
        let path = dir.join(format!("{name}.yaml"));
        std::fs::write(&path, &manifests)?;
        validate(&schemas, &path)?;
        assert_content(name, &manifests)?;
        check_configuration(program, &manifests)?;
    }
    assert_refused(&helm, workspace, &["--set=mode=cluster"], "cluster.redisAddr: set")?;
    assert_refused(&helm, workspace, &["--set=mode=other"], "mode")
}

fn template(helm: &Path, workspace: &Path, values: &[&str]) -> Command {
    let mut command = Command::new(helm);
    command.args(["template", "check"]).arg(workspace.join(CHART)).args(values);
    command.arg(format!("--kube-version={KUBERNETES}.0"));
    command
}

fn render(helm: &Path, workspace: &Path, values: &[&str]) -> Result<String> {
    let output = template(helm, workspace, values).output()?;
    ensure!(output.status.success(), "helm template: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?)
}

fn assert_refused(helm: &Path, workspace: &Path, values: &[&str], message: &str) -> Result<()> {
    let output = template(helm, workspace, values).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    let refused = !output.status.success() && error.contains(message);
    ensure!(refused, "the chart does not refuse {values:?} with {message:?}: {error}");
    Ok(())
}

fn validate(schemas: &PathBuf, manifests: &Path) -> Result<()> {
    let arguments = ["-m", "kubernetes_validate", "--strict", "-k", KUBERNETES];
    let mut command = Command::new("python3");
    run(command.args(arguments).arg(manifests).env("PYTHONPATH", schemas))
        .with_context(|| format!("{} does not match the schemas of Kubernetes", manifests.display()))
}

fn assert_content(name: &str, manifests: &str) -> Result<()> {
    let mode = if name == "cluster" { "kind: PodDisruptionBudget" } else { "kind: StatefulSet" };
    for part in EXPECTED.iter().chain([&mode]) {
        ensure!(manifests.contains(part), "the manifests of {name} have no {part:?}");
    }
    let secret = manifests.split("---").find(|document| document.contains("kind: Secret"));
    let others = manifests.replace(secret.unwrap_or_default(), "");
    ensure!(!others.contains("password"), "a secret is outside of the Secret of {name}");
    Ok(())
}

/// The program accepts the variables of ConfigMap and Secret.
fn check_configuration(program: &Path, manifests: &str) -> Result<()> {
    let variables = variables(manifests);
    ensure!(variables.len() >= 4, "the ConfigMap has only {variables:?}");
    let output = Command::new(program).args(["config", "check"]).envs(variables).output()?;
    if !output.status.success() {
        bail!("the chart's configuration is invalid: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn variables(manifests: &str) -> Vec<(String, String)> {
    let lines = manifests.lines().filter(|line| line.starts_with("  TASKCENTER__"));
    let pairs = lines.filter_map(|line| line.trim().split_once(": "));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_manifests_are_found() {
        let manifests = "data:\n  TASKCENTER__A: \"1\"\n  TASKCENTER__B: /x\nspec:\n  other: 1\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(variables(manifests), [pair("TASKCENTER__A", "1"), pair("TASKCENTER__B", "/x")]);
    }

    #[test]
    fn a_secret_in_another_document_is_found() {
        let expected = EXPECTED.join("\n");
        let good = format!("{expected}\nkind: StatefulSet\n---\nkind: Secret\nX: password\n");
        assert_content("embedded", &good).unwrap();
        let bad = format!("{good}---\nkind: ConfigMap\nX: password\n");
        assert!(assert_content("embedded", &bad).is_err());
        assert!(assert_content("cluster", &good).is_err());
    }
}
