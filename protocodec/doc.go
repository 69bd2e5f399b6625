// Package protocodec has the codec for topics whose values are Protobuf
// messages. It stands apart from package duplex so that only programs that use
// it link Protobuf.
//
//	var Orders = duplex.Topic[*orderspb.Order]{
//		Name:  "orders",
//		Codec: protocodec.Proto,
//		Key:   (*orderspb.Order).GetCustomer,
//	}
//
//	pos, err := producer.Publish(ctx, p, Orders, &orderspb.Order{Customer: "c-17"})
//
// The topic's type is the pointer that generated code works with, as in
// Topic[*orderspb.Order]. Records hold the message in Protobuf's binary encoding
// and nothing beside it: no length, no schema ID. Any Protobuf library reads
// them.
//
// # What is written
//
// Encoding is deterministic: within one build of a program, equal messages give
// equal bytes, map entries included. So records can be compared in tests, and
// a record published again is the same record, at the price of sorting the
// entries of maps. Other builds, and other languages, may order the fields
// differently: do not sign or hash the bytes across programs.
//
// A message without any field set is an empty value, never a null one, which in
// a compacted topic would delete its key. To publish such a tombstone, hand a
// record without a value to producer.Producer.Publish.
//
// # What is read
//
// Fields that this program's schema does not know are kept and written again
// when the message is encoded: a program that reads, changes and republishes
// messages loses nothing that a newer program added. Clear them with
// m.ProtoReflect().SetUnknown(nil).
//
// A decoded message shares no memory with its record.
package protocodec
