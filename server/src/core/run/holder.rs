//! Names of holders: built-in workers hold runs under the name of their node's life.

/// Prefix of the holders that are built-in workers of a node.
const NODE: &str = "node:";
/// Holder of a run that a built-in worker has handed over to another party.
pub(super) const HANDED_OVER: &str = "node";

/// Returns the name of the built-in workers of a node.
pub fn node_worker(node: &str) -> String {
    format!("{NODE}{node}")
}

/// Returns the node whose built-in worker is the holder, if any.
pub fn node_of_holder(holder: &str) -> Option<&str> {
    holder.strip_prefix(NODE)
}
