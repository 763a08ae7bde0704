import Testing

@testable import Scheduling

@Suite struct KnobTests {
    @Test func everyKnobTakesItsOwnValueAndNamesAreUnique() throws {
        let names = SchedulingKnob.all.map(\.name)
        #expect(Set(names).count == names.count)
        for knob in SchedulingKnob.all {
            var settings = SchedulingSettings()
            try knob.set(knob.value(in: settings), in: &settings)
            #expect(settings == SchedulingSettings(), "\(knob.name) is not what it reads")
            #expect(throws: SchedulingKnob.Refusal.self) { try knob.set("-1", in: &settings) }
            #expect(throws: SchedulingKnob.Refusal.self) { try knob.set("99999999999999999999", in: &settings) }
            #expect(settings == SchedulingSettings(), "a refused value was taken")
        }
    }

    @Test func everyKnobChangesOneSettingAlone() throws {
        for knob in SchedulingKnob.all where knob.name != "origin_policy" {
            let builtIn = SchedulingSettings()
            var settings = builtIn
            let lowest = String(knob.allowed.prefix { $0 != " " })
            try knob.set(lowest == knob.value(in: builtIn) ? "\(UInt64(lowest)! + 1)" : lowest, in: &settings)
            let changed = SchedulingKnob.all.filter { $0.value(in: settings) != $0.value(in: builtIn) }
            #expect(changed.map(\.name) == [knob.name])
        }
    }

    @Test func refusalsSayWhatToDo() {
        #expect(throws: SchedulingKnob.Refusal.self) { try SchedulingKnob.named("pieces") }
        do throws(SchedulingKnob.Refusal) {
            var settings = SchedulingSettings()
            try SchedulingKnob.named("lease_pieces").set("0", in: &settings)
            Issue.record("a lease of no pieces was taken")
        } catch {
            #expect(error.description == "‘0’ is no value for lease_pieces: use a number from 1 to 1024")
        }
    }
}
