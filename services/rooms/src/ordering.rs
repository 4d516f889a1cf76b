use std::collections::{HashMap, VecDeque};

use ruma::{EventId, OwnedEventId};

/// Orders events such that each comes after those among them that `parents` names. Of independent events, those that came
/// first stay first. Events on a cycle, which hashes rule out, are left out.
pub(crate) fn parents_first<T>(
    events: Vec<T>,
    id: impl Fn(&T) -> &EventId,
    parents: impl Fn(&T) -> &[OwnedEventId],
) -> Vec<T> {
    let index: HashMap<OwnedEventId, usize> = events
        .iter()
        .enumerate()
        .map(|(index, event)| (id(event).to_owned(), index))
        .collect();
    let mut waits_for = vec![0_usize; events.len()];
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); events.len()];
    for (child, event) in events.iter().enumerate() {
        for parent in parents(event).iter().filter_map(|parent| index.get(parent)) {
            children[*parent].push(child);
            waits_for[child] += 1;
        }
    }
    let mut ready: VecDeque<usize> = (0..events.len())
        .filter(|event| waits_for[*event] == 0)
        .collect();
    let mut order = Vec::with_capacity(events.len());
    while let Some(event) = ready.pop_front() {
        order.push(event);
        for child in &children[event] {
            waits_for[*child] -= 1;
            if waits_for[*child] == 0 {
                ready.push_back(*child);
            }
        }
    }
    let mut events: Vec<Option<T>> = events.into_iter().map(Some).collect();
    order
        .into_iter()
        .filter_map(|index| events[index].take())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(graph: &[(&str, &[&str])]) -> Vec<String> {
        let event_id = |name: &str| EventId::parse(format!("${name}")).unwrap();
        let events: Vec<(OwnedEventId, Vec<OwnedEventId>)> = graph
            .iter()
            .map(|(name, parents)| {
                let parents = parents.iter().map(|parent| event_id(parent)).collect();
                (event_id(name), parents)
            })
            .collect();
        parents_first(events, |event| &event.0, |event| &event.1)
            .into_iter()
            .map(|(id, _)| id.as_str()[1..].to_owned())
            .collect()
    }

    #[test]
    fn parents_come_first() {
        let sorted = order(&[
            ("d", &["b", "c"]),
            ("c", &["a"]),
            ("b", &["a", "x"]),
            ("a", &[]),
        ]);
        assert_eq!(sorted.first().unwrap(), "a");
        assert_eq!(sorted.last().unwrap(), "d");
        assert_eq!(sorted.len(), 4);
    }

    #[test]
    fn a_cycle_is_left_out() {
        assert_eq!(order(&[("a", &["b"]), ("b", &["a"]), ("c", &[])]), ["c"]);
    }
}
