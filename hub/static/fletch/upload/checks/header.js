// The header of a safetensors file: names, types and places of its tensors. Not a byte of a tensor is read.
import { finding, isObject, kindOf, parsed, quoted, said } from "./finding.js";

const LENGTH_BYTES = 8;

// { tensors, findings }: tensors by name where all of them are sound.
export async function readHeader(file, name, rules) {
  const error = (field, found, expected, fix = rules.save_again) => finding("tensor-file", "error", name, field, found, expected, fix);
  const { document, data, problem } = await readDocument(file, rules, error);
  if (problem) return { findings: [problem] };
  const { __metadata__: metadata = {}, ...entries } = document;
  const findings = [...metadataFindings(metadata, rules, error)];
  const tensors = new Map();
  for (const [tensor, fields] of Object.entries(entries)) {
    const problems = [...entryFindings(tensor, fields, rules, error)];
    findings.push(...problems);
    if (!problems.length) tensors.set(tensor, { name: tensor, dtype: fields.dtype, shape: fields.shape, begin: fields.data_offsets[0], end: fields.data_offsets[1] });
  }
  if (!findings.length) findings.push(...coverageFindings(tensors, data, error));
  return findings.length ? { findings } : { tensors, findings };
}

async function readDocument(file, rules, error) {
  const wrong = (found, expected) => ({ problem: error("header", found, expected) });
  const start = new DataView(await file.slice(0, LENGTH_BYTES).arrayBuffer());
  let length = 0n;
  for (let at = start.byteLength - 1; at >= 0; at -= 1) length = length * 256n + BigInt(start.getUint8(at));
  if (file.size < LENGTH_BYTES || length > BigInt(file.size - LENGTH_BYTES)) return wrong(`a header of ${length} bytes in a file of ${file.size}`, "a header inside the file");
  if (length > BigInt(rules.largest)) return wrong(`a header of ${length} bytes`, `at most ${rules.largest}`);
  const bytes = new Uint8Array(await file.slice(LENGTH_BYTES, LENGTH_BYTES + Number(length)).arrayBuffer());
  if (bytes[0] !== 0x7b) return wrong(`a header beginning with ${firstByte(bytes)}`, "a header beginning with {");
  const { value, problem } = parsed(bytes, 3);
  if (problem) return { problem: error("", problem, "plain UTF-8 JSON", rules.save_json_again) };
  const many = Object.keys(value).length;
  if (many > rules.most + 1) return wrong(`${many} tensors`, `at most ${rules.most}`);
  return { document: value, data: file.size - LENGTH_BYTES - Number(length) };
}

// A byte as Python writes it: b'['.
function firstByte(bytes) {
  if (!bytes.length) return "b''";
  const printable = bytes[0] >= 0x20 && bytes[0] < 0x7f;
  return `b${printable ? quoted(String.fromCharCode(bytes[0])) : `'\\x${bytes[0].toString(16).padStart(2, "0")}'`}`;
}

function* metadataFindings(metadata, rules, error) {
  const plain = isObject(metadata) && Object.values(metadata).every((value) => typeof value === "string");
  if (!plain) {
    yield error("__metadata__", "values that are not text", "text to text");
    return;
  }
  const size = Object.entries(metadata).reduce((sum, [key, value]) => sum + key.length + value.length, 0);
  if (size > rules.metadata) yield error("__metadata__", `${size} characters`, `at most ${rules.metadata}`);
}

function* entryFindings(name, fields, rules, error) {
  if (!isObject(fields) || Object.keys(fields).sort().join() !== "data_offsets,dtype,shape") {
    const found = isObject(fields) ? said(Object.keys(fields).sort()) : kindOf(fields);
    yield error(name, `the fields ${found}`, "exactly dtype, shape and data_offsets");
    return;
  }
  const { dtype, shape, data_offsets: offsets } = fields;
  const width = typeof dtype === "string" && Object.hasOwn(rules.dtypes, dtype) ? rules.dtypes[dtype] : 0;
  if (!width) yield error(name, `dtype ${said(dtype)}`, "F32, F16 or BF16", "Convert the adapter with .float() and save it again.");
  if (!whole(shape) || ![1, 2].includes(shape.length) || !shape.every((size) => size >= 1 && size <= rules.dimension)) {
    yield error(name, `shape ${said(shape)}`, `one or two dimensions of 1 to ${rules.dimension}: an adapter has vectors and matrices`);
  } else if (!whole(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    yield error(name, `data_offsets ${said(offsets)}`, "begin and end, begin first");
  } else if (width && offsets[1] - offsets[0] !== shape.reduce((product, size) => product * size, 1) * width) {
    yield error(name, `${offsets[1] - offsets[0]} bytes for ${dtype} ${said(shape)}`, "as many bytes as its shape needs");
  }
}

const whole = (value) => Array.isArray(value) && value.every((item) => Number.isInteger(item));

function* coverageFindings(tensors, data, error) {
  let end = 0;
  for (const entry of [...tensors.values()].sort((one, other) => one.begin - other.begin || one.end - other.end)) {
    if (entry.begin !== end) yield error(entry.name, entry.begin < end ? "overlapping bytes" : "unused bytes before it", `its bytes begin at ${end}`);
    end = Math.max(end, entry.end);
  }
  if (end !== data) yield error("", `${data} bytes of data`, `${end}, as the header says`);
}
