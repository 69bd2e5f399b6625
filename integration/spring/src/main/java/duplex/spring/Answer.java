package duplex.spring;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.kafka.annotation.EnableKafka;
import org.springframework.kafka.annotation.KafkaListener;
import org.springframework.kafka.config.ConcurrentKafkaListenerContainerFactory;
import org.springframework.kafka.config.KafkaListenerEndpointRegistry;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.DefaultErrorHandler;
import org.springframework.kafka.listener.KafkaListenerErrorHandler;
import org.springframework.messaging.handler.annotation.Payload;
import org.springframework.messaging.handler.annotation.SendTo;
import org.springframework.messaging.support.MessageBuilder;
import org.springframework.util.backoff.FixedBackOff;

/** Answers, with a listener, until standard input ends. */
@Configuration
@EnableKafka
public class Answer {
    static void run(String brokers, String topic, String group) throws Exception {
        System.setProperty("brokers", brokers);
        System.setProperty("topic", topic);
        System.setProperty("group", group);
        try (AnnotationConfigApplicationContext context = new AnnotationConfigApplicationContext(Answer.class)) {
            KafkaListenerEndpointRegistry registry = context.getBean(KafkaListenerEndpointRegistry.class);
            while (registry.getListenerContainer("answer").getAssignedPartitions().isEmpty()) {
                Thread.sleep(20);
            }
            System.out.println("ready");
            System.in.transferTo(java.io.OutputStream.nullOutputStream());
        }
    }

    /** The answer is the request from its end to its beginning. */
    @KafkaListener(id = "answer", topics = "${topic}", groupId = "${group}", concurrency = "3", errorHandler = "coded")
    @SendTo
    public byte[] answer(@Payload(required = false) byte[] request) {
        String text = request == null ? "" : new String(request, StandardCharsets.ISO_8859_1);
        if (text.startsWith("refuse")) {
            throw new IllegalArgumentException("no such flight — ☂");
        }
        if (text.startsWith("fail")) {
            throw new IllegalStateException("oops");
        }
        return new StringBuilder(text).reverse().toString().getBytes(StandardCharsets.ISO_8859_1);
    }

    /** Has what the caller got wrong be an error for it, in Duplex's headers; nobody answers what else fails. */
    @Bean
    KafkaListenerErrorHandler coded() {
        return (message, e) -> {
            if (!(e.getCause() instanceof IllegalArgumentException)) {
                throw e;
            }
            return MessageBuilder.withPayload(new byte[0])
                    .setHeader("rpc-status", utf8("not_found"))
                    .setHeader("rpc-message", utf8("no%20such%20flight"))
                    .setHeader("rpc-executed", utf8("completed"))
                    .build();
        };
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    @Bean
    KafkaTemplate<byte[], byte[]> replies() {
        return new KafkaTemplate<>(new DefaultKafkaProducerFactory<>(
                Map.of(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, System.getProperty("brokers")),
                new ByteArraySerializer(),
                new ByteArraySerializer()));
    }

    @Bean
    ConcurrentKafkaListenerContainerFactory<byte[], byte[]> kafkaListenerContainerFactory(KafkaTemplate<byte[], byte[]> replies) {
        ConcurrentKafkaListenerContainerFactory<byte[], byte[]> factory = new ConcurrentKafkaListenerContainerFactory<>();
        factory.setConsumerFactory(new DefaultKafkaConsumerFactory<>(
                Map.of(
                        ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, System.getProperty("brokers"),
                        ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest"),
                new ByteArrayDeserializer(),
                new ByteArrayDeserializer()));
        factory.setReplyTemplate(replies);
        factory.setCommonErrorHandler(new DefaultErrorHandler(new FixedBackOff(0, 0))); // once: what failed is passed over
        return factory;
    }
}
