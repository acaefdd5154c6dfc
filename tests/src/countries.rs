//! A small file in the format of `MaxMind`, so that tests know where addresses are.
//!
//! The format is theirs (`MaxMind` DB, version 2): a tree over the bits of addresses, the data that its leaves point at, and
//! what describes both.

use std::path::Path;

use ipnet::Ipv6Net;

/// The bytes between tree and data.
const GAP: usize = 16;

/// Writes a file in which these networks are in these countries. IPv4 networks are written as `::203.0.113.0/120`.
pub fn write(path: &Path, networks: &[(&str, &str)]) {
    std::fs::write(path, bytes(networks)).unwrap();
}

#[derive(Clone, Copy)]
enum Record {
    Nothing,
    Node(usize),
    Data(usize),
}

fn bytes(networks: &[(&str, &str)]) -> Vec<u8> {
    let mut nodes = vec![[Record::Nothing; 2]];
    let mut data = Vec::new();
    for (network, country) in networks {
        let network: Ipv6Net = network.parse().unwrap();
        let offset = data.len();
        map(&mut data, 1);
        text(&mut data, "country");
        map(&mut data, 1);
        text(&mut data, "iso_code");
        text(&mut data, country);
        let bits = u128::from(network.network());
        let mut node = 0;
        for depth in 0..network.prefix_len() {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == network.prefix_len() {
                nodes[node][side] = Record::Data(offset);
            } else if let Record::Node(next) = nodes[node][side] {
                node = next;
            } else {
                nodes.push([Record::Nothing; 2]);
                nodes[node][side] = Record::Node(nodes.len() - 1);
                node = nodes.len() - 1;
            }
        }
    }
    let mut file = Vec::new();
    for record in nodes.iter().flatten() {
        let number = match record {
            Record::Nothing => nodes.len(),
            Record::Node(node) => *node,
            Record::Data(offset) => nodes.len() + GAP + offset,
        };
        file.extend(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    file.extend([0; GAP]);
    file.extend(data);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    map(&mut file, 9);
    number(&mut file, "node_count", 6, &u32::try_from(nodes.len()).unwrap().to_be_bytes());
    number(&mut file, "record_size", 5, &24_u16.to_be_bytes());
    number(&mut file, "ip_version", 5, &6_u16.to_be_bytes());
    text(&mut file, "database_type");
    text(&mut file, "Test-Country");
    text(&mut file, "languages");
    file.extend([1, 4]);
    text(&mut file, "en");
    number(&mut file, "binary_format_major_version", 5, &2_u16.to_be_bytes());
    number(&mut file, "binary_format_minor_version", 5, &0_u16.to_be_bytes());
    text(&mut file, "build_epoch");
    file.extend([8, 2]);
    file.extend(1_700_000_000_u64.to_be_bytes());
    text(&mut file, "description");
    map(&mut file, 1);
    text(&mut file, "en");
    text(&mut file, "For tests");
    file
}

fn map(bytes: &mut Vec<u8>, entries: u8) {
    bytes.push(7 << 5 | entries);
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 29, "longer texts are written otherwise");
    bytes.push(2 << 5 | length);
    bytes.extend(text.as_bytes());
}

fn number(bytes: &mut Vec<u8>, name: &str, kind: u8, value: &[u8]) {
    text(bytes, name);
    bytes.push(kind << 5 | u8::try_from(value.len()).unwrap());
    bytes.extend(value);
}
