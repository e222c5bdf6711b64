//! Did you mean: the known word that is nearest to one that is not known.

/// No word longer than this is compared: what a person mistypes is shorter.
const LONGEST: usize = 64;
/// So many words are compared at most.
const MOST: usize = 10_000;

/// The candidate that differs least from a word, if it is near: at most a third of its letters are other, missing, too
/// many or swapped. Case does not count.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let most = (lower.len() / 3).max(1);
    let close =
        |candidate: &&str| candidate.len() <= LONGEST && candidate.len().abs_diff(lower.len()) <= most;
    let found = candidates
        .into_iter()
        .take(MOST)
        .filter(close)
        .map(|candidate| (distance(lower.as_bytes(), candidate.to_lowercase().as_bytes()), candidate));
    let best = found.filter(|(distance, _)| *distance <= most && *distance < lower.len()).min();
    best.map(|(_, candidate)| candidate).filter(|_| lower.len() <= LONGEST)
}

/// ` (did you mean X?)`, or nothing.
pub fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or(String::new(), |near| format!("; did you mean `{near}`?"))
}

/// Letters to change, insert, leave out or swap with their neighbour.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let (mut before, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let other = usize::from(a[i - 1] != b[j - 1]);
            let mut cost = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + other);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                cost = cost.min(before[j - 2] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let cases =
            [("", "", 0), ("a", "", 1), ("abc", "acb", 1), ("kitten", "sitting", 3), ("same", "same", 0)];
        for (a, b, expected) in cases {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_what_is_near_is_meant() {
        let known = ["run", "compile", "objdump", "settings"];
        assert_eq!(nearest("complie", known), Some("compile"));
        assert_eq!(nearest("RUN", known), Some("run"));
        assert_eq!(nearest("rum", known), Some("run"));
        assert_eq!(nearest("x", known), None);
        assert_eq!(nearest("program", known), None);
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
    }
}
