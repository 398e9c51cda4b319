//! Allocation of queues to the members of a group.

/// Returns the queues of `client` among `clients`, exactly as `AllocateMessageQueueAveragely.java`,
/// the default of the Java and Go clients: all members of a group must compute the same result.
///
/// `queues` and `clients` must be sorted as in Java: clients by their id, queues by topic, broker name
/// and queue id. The result is empty if `client` is not among `clients`.
pub(crate) fn allocate<'a, Q>(client: &str, queues: &'a [Q], clients: &[String]) -> &'a [Q] {
    let Some(index) = clients.iter().position(|id| id == client) else { return &[] };
    let rest = queues.len() % clients.len();
    let takes_one_more = index < rest;
    let size = if queues.len() <= clients.len() {
        1
    } else {
        queues.len() / clients.len() + usize::from(takes_one_more)
    };
    let start = index * size + if takes_one_more { 0 } else { rest };
    // With fewer queues than clients, the start of the last clients is beyond the end.
    let end = queues.len().min(start.saturating_add(size));
    queues.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The arithmetic of the Java class, on signed numbers as there.
    fn java(queues: i64, clients: i64, index: i64) -> Vec<i64> {
        let modulo = queues % clients;
        let average = if queues <= clients {
            1
        } else if modulo > 0 && index < modulo {
            queues / clients + 1
        } else {
            queues / clients
        };
        let start = if modulo > 0 && index < modulo { index * average } else { index * average + modulo };
        let range = average.min(queues - start);
        (0..range).map(|offset| start + offset).collect()
    }

    #[test]
    fn every_allocation_equals_that_of_java() {
        for queue_count in 1..=40 {
            let queues: Vec<i64> = (0..queue_count).collect();
            for client_count in 1..=45 {
                let clients: Vec<String> = (0..client_count).map(|id| format!("10.0.0.{id:03}@1")).collect();
                let mut all: Vec<i64> = Vec::new();
                for (index, client) in clients.iter().enumerate() {
                    let mine = allocate(client, &queues, &clients);
                    assert_eq!(
                        mine,
                        java(queue_count, client_count, index as i64),
                        "{queue_count} {clients:?}"
                    );
                    all.extend(mine);
                }
                assert_eq!(all, queues, "each queue has one owner");
            }
        }
    }

    /// Results of the Java class, written down: 8 queues; 8 of 3 members; 2 of 3 members.
    #[test]
    fn known_allocations() {
        let clients = ["a", "b", "c"].map(str::to_owned);
        let queues = [0, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(allocate("a", &queues, &clients), [0, 1, 2]);
        assert_eq!(allocate("b", &queues, &clients), [3, 4, 5]);
        assert_eq!(allocate("c", &queues, &clients), [6, 7]);
        assert_eq!(allocate("b", &queues[..2], &clients), [1]);
        assert!(allocate("c", &queues[..2], &clients).is_empty());
        assert!(allocate("d", &queues, &clients).is_empty());
        assert!(allocate("a", &queues, &[]).is_empty());
    }
}
