package duplex.spring;

import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.kafka.annotation.EnableKafka;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.config.ConcurrentKafkaListenerContainerFactory;
import org.springframework.kafka.config.KafkaListenerEndpointRegistry;
import org.springframework.kafka.core.ConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.core.ProducerFactory;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.KafkaMessageListenerContainer;
import org.springframework.kafka.requestreply.ReplyingKafkaTemplate;
import org.springframework.kafka.support.TopicPartitionOffset;
import org.springframework.messaging.handler.annotation.SendTo;

/**
 * Measures calls for bench/: callers with one ReplyingKafkaTemplate and a listener that answers with what it
 * gets, both in this JVM. Standard input is the bytes that the values are windows of, standard output a line
 * of JSON.
 */
@Configuration
@EnableKafka
public class Echo {
    private static final int STRIDE = 7919;
    private static final Duration LIMIT = Duration.ofSeconds(30);

    private final AtomicLong handled = new AtomicLong();

    /** BROKERS REQUESTS REPLIES GROUP SIZE CALLERS WARM CALLS. */
    public static void main(String[] args) throws Exception {
        System.setProperty("brokers", args[0]);
        System.setProperty("requests", args[1]);
        System.setProperty("group", args[3]);
        byte[] block = System.in.readAllBytes();
        int callers = Integer.parseInt(args[5]);
        AnnotationConfigApplicationContext context = new AnnotationConfigApplicationContext(Echo.class);
        KafkaListenerEndpointRegistry registry = context.getBean(KafkaListenerEndpointRegistry.class);
        while (registry.getListenerContainer("echo").getAssignedPartitions().isEmpty()) {
            Thread.sleep(20);
        }
        ReplyingKafkaTemplate<byte[], byte[], byte[]> template = context.getBean(Echo.class).template(args[2]);
        Calls warm = new Calls(template, args[1], block, Integer.parseInt(args[4]), Integer.parseInt(args[6]));
        warm.run(callers);
        Calls calls = new Calls(template, args[1], block, Integer.parseInt(args[4]), Integer.parseInt(args[7]));
        OperatingSystemMXBean system = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
        long cpu = system.getProcessCpuTime();
        long began = System.nanoTime();
        calls.run(callers);
        long took = System.nanoTime() - began;
        cpu = system.getProcessCpuTime() - cpu;
        template.destroy();
        AtomicLong handled = context.getBean(Echo.class).handled;
        context.close(); // which commits
        System.out.println(calls.json(took, cpu, handled.get(), calls.wrong.get() + warm.wrong.get()));
        System.exit(0); // not all of Spring's threads have ended
    }

    @KafkaListener(id = "echo", topics = "${requests}", groupId = "${group}")
    @SendTo
    public byte[] echo(byte[] request) {
        handled.incrementAndGet();
        return request;
    }

    private ReplyingKafkaTemplate<byte[], byte[], byte[]> template(String replies) throws Exception {
        ContainerProperties from = new ContainerProperties(new TopicPartitionOffset(replies, 0));
        from.setGroupId("callers-of-" + System.getProperty("group"));
        ReplyingKafkaTemplate<byte[], byte[], byte[]> template =
                new ReplyingKafkaTemplate<>(producers(), new KafkaMessageListenerContainer<>(consumers(), from));
        template.setDefaultReplyTimeout(LIMIT);
        template.afterPropertiesSet();
        template.start();
        if (!template.waitForAssignment(LIMIT)) {
            throw new IllegalStateException("no partition of " + replies);
        }
        return template;
    }

    private static ProducerFactory<byte[], byte[]> producers() {
        return new DefaultKafkaProducerFactory<>(
                Map.of(
                        ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, System.getProperty("brokers"),
                        ProducerConfig.ACKS_CONFIG, "all",
                        ProducerConfig.LINGER_MS_CONFIG, 0),
                new ByteArraySerializer(),
                new ByteArraySerializer());
    }

    private static ConsumerFactory<byte[], byte[]> consumers() {
        return new DefaultKafkaConsumerFactory<>(
                Map.of(
                        ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, System.getProperty("brokers"),
                        ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
                        ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest"),
                new ByteArrayDeserializer(),
                new ByteArrayDeserializer());
    }

    @Bean
    ConcurrentKafkaListenerContainerFactory<byte[], byte[]> kafkaListenerContainerFactory() {
        ConcurrentKafkaListenerContainerFactory<byte[], byte[]> factory = new ConcurrentKafkaListenerContainerFactory<>();
        factory.setConsumerFactory(consumers());
        factory.setReplyTemplate(new KafkaTemplate<>(producers()));
        return factory;
    }

    /** Calls whose values and times are kept. */
    private static final class Calls {
        private final ReplyingKafkaTemplate<byte[], byte[], byte[]> template;
        private final String topic;
        private final byte[] block;
        private final int size;
        private final long[] nanos;
        private final AtomicLong sum = new AtomicLong();
        private final AtomicInteger wrong = new AtomicInteger();

        Calls(ReplyingKafkaTemplate<byte[], byte[], byte[]> template, String topic, byte[] block, int size, int calls) {
            this.template = template;
            this.topic = topic;
            this.block = block;
            this.size = size;
            this.nanos = new long[calls];
        }

        void run(int callers) throws Exception {
            Thread[] threads = new Thread[callers];
            Throwable[] failed = new Throwable[callers];
            for (int c = 0; c < callers; c++) {
                int first = c;
                threads[c] = new Thread(() -> {
                    try {
                        for (int i = first; i < nanos.length; i += callers) {
                            one(i);
                        }
                    } catch (Exception e) {
                        failed[first] = e;
                    }
                });
                threads[c].start();
            }
            for (int c = 0; c < callers; c++) {
                threads[c].join();
                if (failed[c] != null) {
                    throw new IllegalStateException("an answer is lost", failed[c]);
                }
            }
        }

        private void one(int i) throws Exception {
            int at = (int) ((long) i * STRIDE & (block.length - size - 1));
            byte[] value = Arrays.copyOfRange(block, at, at + size);
            long began = System.nanoTime();
            ConsumerRecord<byte[], byte[]> reply = template.sendAndReceive(new ProducerRecord<>(topic, value)).get();
            nanos[i] = System.nanoTime() - began;
            if (!Arrays.equals(reply.value(), value)) {
                wrong.incrementAndGet();
            }
            sum.addAndGet(ByteBuffer.wrap(reply.value()).order(ByteOrder.LITTLE_ENDIAN).getLong());
        }

        String json(long took, long cpu, long handled, int wrong) throws IOException {
            Arrays.sort(nanos);
            return "{\"seconds\":" + took / 1e9 + ",\"cpuSeconds\":" + cpu / 1e9 + ",\"peakRSS\":" + peak()
                    + ",\"latency\":{\"p50\":" + at(0.5) + ",\"p99\":" + at(0.99) + ",\"p999\":" + at(0.999) + ",\"max\":" + at(1) + "}"
                    + ",\"tally\":{\"count\":" + nanos.length + ",\"sum\":" + Long.toUnsignedString(sum.get()) + "}"
                    + ",\"answers\":{\"wrong\":" + wrong + ",\"handled\":" + handled + "}}";
        }

        private long at(double quantile) {
            return nanos[(int) Math.min(nanos.length - 1, (long) (quantile * nanos.length))] / 1000;
        }

        /** The most memory that the process had, in bytes; 0 where the system does not say. */
        private static long peak() throws IOException {
            Path status = Path.of("/proc/self/status");
            if (!Files.exists(status)) {
                return 0;
            }
            for (String line : Files.readAllLines(status)) {
                if (line.startsWith("VmHWM:")) {
                    return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
                }
            }
            return 0;
        }
    }
}
