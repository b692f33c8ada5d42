//! Tables in columns: Go's tabwriter, and boxes for `node status` and `ipam`.

/// Least width of a column.
const MIN_WIDTH: usize = 5;
/// Blanks after the widest cell of a column.
const PADDING: usize = 3;

/// Aligns rows as Go's tabwriter does with minimal width 5 and padding 3; every cell is padded, the last one too.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    in_widths(rows, &widths(rows))
}

/// Aligns rows of a table whose columns are as wide as its first rows wanted.
pub(super) fn in_widths(rows: &[Vec<String>], widths: &[usize]) -> String {
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(widths) {
            let width = (width + PADDING).max(MIN_WIDTH);
            text += &format!("{cell:<width$}");
        }
        text.push('\n');
    }
    text
}

/// Draws a box with a centred heading; the first row is the heading. Plain numbers are at the right of their column.
pub(super) fn boxed(rows: &[Vec<String>]) -> String {
    let widths = widths(rows);
    let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect::<String>() + "+\n";
    let mut text = rule.clone();
    for (index, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let left = match index {
                0 => (width - cell.chars().count()) / 2,
                _ if is_number(cell) => width - cell.chars().count(),
                _ => 0,
            };
            text += &format!("| {}{cell:<rest$} ", " ".repeat(left), rest = width - left);
        }
        text += "|\n";
        if index == 0 {
            text += &rule;
        }
    }
    text + &rule
}

/// Whether a cell is digits with at most a sign and a fraction.
fn is_number(cell: &str) -> bool {
    let (whole, fraction) = cell.split_once('.').unwrap_or((cell, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole.strip_prefix('-').unwrap_or(whole)) && digits(fraction)
}

/// How wide each column's widest cell is.
pub(super) fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    (0..columns).map(|column| width(column).unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn columns_as_calicoctl_aligns_them() {
        for (input, expect) in [
            (rows(&[&["NAME"]]), "NAME   \n"),
            (
                rows(&[&["NAME", "CIDR", "NAT"], &["p", "10.244.0.0/16", "false"]]),
                "NAME   CIDR            NAT     \np      10.244.0.0/16   false   \n",
            ),
            (
                rows(&[&["NAME", "LABELS"], &["prof-min", "x=true"], &["projectcalico-default-allow", ""]]),
                "NAME                          LABELS   \nprof-min                      x=true   \n\
                 projectcalico-default-allow            \n",
            ),
            (rows(&[&["A"], &["x"]]), "A    \nx    \n"),
        ] {
            assert_eq!(aligned(&input), expect);
        }
    }

    #[test]
    fn boxes_as_node_status_draws_them() {
        let rows = rows(&[
            &["PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"],
            &["192.168.10.10", "node-to-node mesh", "up", "05:17:26", "Established"],
        ]);
        let expect = "\
+---------------+-------------------+-------+----------+-------------+
| PEER ADDRESS  |     PEER TYPE     | STATE |  SINCE   |    INFO     |
+---------------+-------------------+-------+----------+-------------+
| 192.168.10.10 | node-to-node mesh | up    | 05:17:26 | Established |
+---------------+-------------------+-------+----------+-------------+
";
        assert_eq!(boxed(&rows), expect);
    }
}
