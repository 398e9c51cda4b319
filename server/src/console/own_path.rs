//! Paths of the console in the fields of a form.

use super::has;

/// Returns the path of the console in a field, or else the overview. Other sites are no targets.
pub fn own_path(field: Option<&str>) -> String {
    let is_own = |target: &&str| {
        let path = target.split(['?', '#']).next().unwrap_or_default();
        has(path) && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    field.filter(is_own).unwrap_or("/").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_the_console_are_targets() {
        for own in ["/", "/console/tasks?q=state%3Adead", "/console"] {
            assert_eq!(own_path(Some(own)), own);
        }
        for other in
            ["//evil.example", "https://evil.example/", "/\\evil.example", "/v1/tasks", "/console\r\nx", ""]
        {
            assert_eq!(own_path(Some(other)), "/", "{other:?}");
        }
        assert_eq!(own_path(None), "/");
    }
}
