package duplex.spring;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.KafkaMessageListenerContainer;
import org.springframework.kafka.requestreply.ReplyingKafkaTemplate;
import org.springframework.kafka.support.TopicPartitionOffset;

/**
 * Asks, with a ReplyingKafkaTemplate for each reply topic. A line of standard input is a call: its ID,
 * the topics of the request and of the reply, the partition of the reply or -1 for Spring's default, how
 * many ms to wait, headers as name=value with semicolons, and the value in base64, with tabs. A line of
 * standard output is what came of it, as JSON.
 */
final class Ask {
    private final Map<String, Object> config;
    private final Map<String, ReplyingKafkaTemplate<byte[], byte[], byte[]>> templates = new HashMap<>();

    private Ask(String brokers) {
        config = Map.of(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
    }

    static void run(String brokers) throws Exception {
        Ask ask = new Ask(brokers);
        List<CompletableFuture<Void>> asked = new ArrayList<>();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            asked.add(ask.ask(line.split("\t", -1)));
        }
        CompletableFuture.allOf(asked.toArray(CompletableFuture[]::new)).join();
        for (ReplyingKafkaTemplate<byte[], byte[], byte[]> template : ask.templates.values()) {
            template.destroy();
        }
        System.exit(0); // not all of Spring's threads have ended
    }

    private CompletableFuture<Void> ask(String[] call) throws Exception {
        ProducerRecord<byte[], byte[]> request = new ProducerRecord<>(call[1], Base64.getDecoder().decode(call[6]));
        for (String header : call[5].isEmpty() ? new String[0] : call[5].split(";")) {
            String[] pair = header.split("=", 2);
            request.headers().add(pair[0], pair[1].getBytes(StandardCharsets.UTF_8));
        }
        return template(call[2], Integer.parseInt(call[3]))
                .sendAndReceive(request, Duration.ofMillis(Long.parseLong(call[4])))
                .handle((reply, e) -> {
                    say(call[0], reply, e);
                    return null;
                });
    }

    private ReplyingKafkaTemplate<byte[], byte[], byte[]> template(String topic, int partition) throws Exception {
        String name = topic + "/" + partition;
        if (!templates.containsKey(name)) {
            ContainerProperties replies = partition < 0
                    ? new ContainerProperties(topic)
                    : new ContainerProperties(new TopicPartitionOffset(topic, partition));
            replies.setGroupId("spring-" + topic);
            Map<String, Object> consumer = new HashMap<>(config);
            consumer.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
            ReplyingKafkaTemplate<byte[], byte[], byte[]> template = new ReplyingKafkaTemplate<>(
                    new DefaultKafkaProducerFactory<>(
                            Map.of(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, config.get(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG)),
                            new ByteArraySerializer(),
                            new ByteArraySerializer()),
                    new KafkaMessageListenerContainer<>(
                            new DefaultKafkaConsumerFactory<>(consumer, new ByteArrayDeserializer(), new ByteArrayDeserializer()),
                            replies));
            template.setReplyErrorChecker(Ask::check);
            template.afterPropertiesSet();
            template.start();
            if (!template.waitForAssignment(Duration.ofSeconds(30))) {
                throw new IllegalStateException("no partitions of " + topic + " within 30 s");
            }
            templates.put(name, template);
        }
        return templates.get(name);
    }

    /** An error of the server, as Duplex has it in the headers of a reply. */
    private static final class CallException extends RuntimeException {
        private final ConsumerRecord<?, ?> reply;

        CallException(ConsumerRecord<?, ?> reply) {
            super(text(reply, "rpc-status"));
            this.reply = reply;
        }
    }

    private static Exception check(ConsumerRecord<?, ?> reply) {
        return reply.headers().lastHeader("rpc-status") == null ? null : new CallException(reply);
    }

    private static String text(ConsumerRecord<?, ?> reply, String name) {
        Header header = reply.headers().lastHeader(name);
        return header == null ? "" : new String(header.value(), StandardCharsets.UTF_8);
    }

    private static synchronized void say(String id, ConsumerRecord<byte[], byte[]> reply, Throwable e) {
        Throwable cause = e instanceof CompletionException ? e.getCause() : e;
        StringBuilder line = new StringBuilder("{\"id\":\"" + id + "\"");
        if (cause instanceof CallException error) {
            line.append(",\"status\":\"" + text(error.reply, "rpc-status") + "\"");
            line.append(",\"executed\":\"" + text(error.reply, "rpc-executed") + "\"");
            line.append(",\"message\":\"" + text(error.reply, "rpc-message") + "\"");
            line.append(",\"value\":\"" + Base64.getEncoder().encodeToString((byte[]) error.reply.value()) + "\"");
        } else if (cause != null) {
            line.append(",\"failure\":\"" + cause.getClass().getSimpleName() + "\"");
        } else {
            line.append(",\"partition\":" + reply.partition() + ",\"server\":\"" + text(reply, "rpc-server") + "\"");
            if (reply.value() != null) {
                line.append(",\"value\":\"" + Base64.getEncoder().encodeToString(reply.value()) + "\"");
            }
        }
        System.out.println(line.append("}"));
    }
}
