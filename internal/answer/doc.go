// Package answer has what programs are told: "millhand -o json" prints it, and the dashboard's API answers with
// it. The names of its fields are a contract, of which docs/schemas/millhand.json is the text.
package answer
